// Says when nothing comes back from the kernel: it is busy, or gone. Front ends with ipywidgets 7 mark nothing then.
(() => {
  if (window.beit3Kernel) return;
  window.beit3Kernel = true;

  const PATIENCE = 4000; // ms without an answer, after which it is said
  const WAITING = 'No answer yet: the kernel is busy, or gone (then run the cell again).';
  const GONE = 'The kernel is gone: run the cell again.';
  const watched = new WeakMap(); // browser → what is known of it

  // The line stands at the end, where ipywidgets counts no children; the style sheet puts it first
  function lineOf(root) {
    const line = document.createElement('div');
    line.className = 'beit3-waiting';
    line.setAttribute('role', 'status');
    root.append(line);
    return line;
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
    if (!root || !event.target.closest(event.type === 'click' ? 'button' : 'input,select,textarea')) return;
    const state = watch(root);
    clearTimeout(state.timer);
    if (root.classList.contains('jupyter-widgets-disconnected')) {
      state.line.textContent = GONE;
      return;
    }
    state.timer = setTimeout(() => (state.line.textContent = WAITING), PATIENCE);
  }

  window.addEventListener('click', onAct, true);
  window.addEventListener('change', onAct, true);
})();
