// Says when nothing comes back from the kernel: it is busy, or gone. Front ends with ipywidgets 7 mark nothing then.
(() => {
  if (window.beit3Kernel) return;
  window.beit3Kernel = true;

  const PATIENCE = 4000; // ms without an answer, after which it is said
  const WAITING = 'No answer yet: the kernel is busy, or gone (then run the cell again).';
  const WIDTH = 340; // px, at most, as in the style sheet
  const HEIGHT = 52; // px, of two lines
  const GONE = 'The kernel is gone: run the cell again.';
  const watched = new WeakMap(); // browser → what is known of it

  // The line is the last child, as ipywidgets counts its own; it is drawn where one is looking, see `place`
  function lineOf(root) {
    const line = document.createElement('div');
    line.className = 'beit3-waiting';
    line.setAttribute('role', 'status');
    root.append(line);
    return line;
  }

  // Below the pointer or, for a key or a field, below what has the keyboard; inside the browser and the window: a browser is long
  function place(line, root, event) {
    const edge = root.getBoundingClientRect();
    const focused = document.activeElement; // may have moved: pages are also turned below the cards
    const part = (root.contains(focused) ? focused : event.target).getBoundingClientRect();
    const byPointer = event.type === 'click' && event.detail > 0;
    const left = (byPointer ? event.clientX : part.left) - edge.left;
    const top = (byPointer ? event.clientY + 12 : part.bottom) + 4;
    const lowest = Math.min(window.innerHeight, edge.bottom) - HEIGHT;
    line.style.left = `${Math.max(0, Math.min(left, edge.width - WIDTH))}px`;
    line.style.top = `${Math.max(0, Math.min(top, lowest) - edge.top)}px`;
  }

  function watch(root) {
    if (watched.has(root)) return watched.get(root);
    const state = { timer: 0, line: lineOf(root) };
    const answered = (changes) => {
      if (changes.every((change) => state.line.contains(change.target))) return;
      clearTimeout(state.timer);
      if (state.line.textContent !== GONE) state.line.textContent = '';
    };
    const options = { subtree: true, childList: true, characterData: true, attributes: true };
    new MutationObserver((changes) => answered(changes.filter(comesFromKernel))).observe(root, {
      ...options,
      attributeFilter: ['class', 'disabled'],
    });
    watched.set(root, state);
    return state;
  }

  // Buttons change their own class when they are pressed; that of the line of messages only Python changes
  function comesFromKernel(change) {
    return change.attributeName !== 'class' || change.target.classList.contains('beit3-status');
  }

  function onAct(event) {
    const root = event.target instanceof Element && event.target.closest('.beit3-browse');
    if (!root) return;
    const gone = root.classList.contains('jupyter-widgets-disconnected'); // the button of a card no longer reaches over it then
    const pressed = gone ? 'button,.beit3-card' : 'button';
    if (!event.target.closest(event.type === 'click' ? pressed : 'input,select,textarea')) return;
    const state = watch(root);
    clearTimeout(state.timer);
    requestAnimationFrame(() => place(state.line, root, event)); // others scroll first
    if (gone) {
      state.line.textContent = GONE;
      return;
    }
    state.timer = setTimeout(() => (state.line.textContent = WAITING), PATIENCE);
  }

  window.addEventListener('click', onAct, true);
  window.addEventListener('change', onAct, true);
})();
