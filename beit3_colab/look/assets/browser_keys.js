// Keys of the browsers of answers, where the keyboard goes, and what is scrolled into view.
// Every key has its button, so nothing is lost where no script runs.
(() => {
  if (window.beit3Keys) return;
  window.beit3Keys = true;

  const keys = {
    ArrowRight: ['next-answer', 'next'],
    ArrowLeft: ['previous-answer', 'previous'],
    Escape: ['full-close', 'back'],
  };
  const SETTLE = 20; // looks at a page of cards after a return: the card may change while messages still come

  const rootOf = (event) => event.target instanceof Element && event.target.closest('.beit3-browse');
  const usable = (button) => button && button.offsetParent && !button.disabled;
  const find = (root, names) => names.map((name) => root.querySelector(`button.beit3-${name}`)).find(usable);
  const pressed = new WeakMap(); // browser → the card that was pressed last
  const clicked = new WeakMap(); // browser → the button that was pressed last
  const opened = new WeakMap(); // browser → whether an answer is open in full
  const named = new WeakSet(); // browsers whose changes are watched
  let numbers = 0; // of ids given so far

  // Only what is another: each attribute that is written wakes whoever watches the page, screen readers too
  function put(part, attribute, value) {
    if (part.getAttribute(attribute) !== String(value)) part.setAttribute(attribute, value);
  }

  // What ipywidgets leaves without a name for screen readers
  function name(root) {
    for (const slider of root.querySelectorAll('.beit3-slider')) {
      for (const handle of slider.querySelectorAll('[role=slider],.ui-slider-handle')) {
        put(handle, 'role', 'slider');
        put(handle, 'aria-label', slider.querySelector('.widget-label').textContent);
        put(handle, 'aria-valuetext', slider.querySelector('.widget-readout').textContent);
        if (!handle.hasAttribute('aria-valuenow')) put(handle, 'aria-valuenow', 0);
      }
    }
    for (const button of root.querySelectorAll('.widget-toggle-button,.widget-toggle-buttons button')) {
      put(button, 'aria-pressed', button.classList.contains('mod-active'));
    }
    for (const tick of root.querySelectorAll('.beit3-tick input:not([aria-labelledby])')) {
      const parts = [tick.parentElement.querySelector('span'), tick.closest('.beit3-card').querySelector('button')];
      for (const part of parts) if (!part.id) part.id = `beit3-name-${++numbers}`;
      put(tick, 'aria-labelledby', parts.map((part) => part.id).join(' '));
    }
  }

  // From the first touch on: named now, and again when something in this browser becomes another
  function keepNamed(root) {
    if (named.has(root)) return;
    named.add(root);
    name(root);
    const watched = {
      subtree: true,
      childList: true,
      characterData: true,
      attributes: true,
      attributeFilter: ['class'],
    };
    new MutationObserver(() => name(root)).observe(root, watched);
  }

  // The card to return to: the one that Python marks (it knows the answer that was open), else the one pressed last
  function cardOf(root) {
    const marked = root.querySelector('.beit3-return button.beit3-question');
    const card = marked && marked.offsetParent ? marked : pressed.get(root);
    return card && card.isConnected && card.offsetParent ? card : null;
  }

  // Nothing moves as long as the head of the browser is in the window: “nearest” scrolls only what is outside
  function showHead(root) {
    const head = [...root.children].find((part) => part.offsetParent);
    if (head) head.scrollIntoView({ block: 'nearest' });
  }

  function goTo(card) {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: 'center' });
  }

  // Where the keyboard goes when the button that was pressed is gone: to its neighbour, else to the search
  function heirOf(root) {
    const button = clicked.get(root);
    const row = button.closest('.beit3-active-filter-row,.beit3-remedy-row,.beit3-picks');
    if (!row) return null;
    const buttons = [...row.querySelectorAll('button.jupyter-button')].filter(usable);
    const before = (each) => each.compareDocumentPosition(button) & Node.DOCUMENT_POSITION_FOLLOWING;
    const words = root.querySelector('.beit3-words input');
    return buttons.filter(before).at(-1) || buttons[0] || (words && words.offsetParent ? words : null);
  }

  // After a button was pressed: the kernel answers when it can, so look again for a while (10 s)
  function follow(root, left = 200, settle = 0, shown = null) {
    const back = find(root, ['back']);
    const at = document.activeElement;
    const lost = at === document.body || (root.contains(at) && !at.offsetParent);
    if (back && !opened.get(root)) {
      showHead(root);
      if (lost) back.focus({ preventScroll: true });
    } else if (!back && opened.get(root)) {
      settle = SETTLE;
      shown = null; // the card may be the one that was returned to before
    }
    opened.set(root, !!back);
    if (!back && settle) {
      const card = cardOf(root);
      const free = lost || at === shown; // nobody went on from where the keyboard was put
      if (card && card !== shown && free) goTo((shown = card));
      settle = free ? settle - 1 : 0;
    } else if (lost) {
      const field = back || heirOf(root) || root.querySelector('.beit3-page input');
      if (field && field.offsetParent) field.focus({ preventScroll: true });
    }
    if (left && (lost || at === document.body || root.contains(at))) {
      setTimeout(follow, 50, root, left - 1, settle, shown);
    }
  }

  // Pages are also turned below the cards; the new page is looked at from its top
  function showTop(root, button) {
    const above = find(root, button.classList.contains('beit3-next-below') ? ['next'] : ['previous']);
    const top = root.querySelector('.beit3-pages');
    if (above) above.focus({ preventScroll: true });
    if (top) top.scrollIntoView({ block: 'start' });
  }

  function onKey(event) {
    const root = rootOf(event);
    const plain = !(event.ctrlKey || event.metaKey || event.altKey);
    if (!root) return;
    // on the target itself: JupyterLab looks no further
    event.target.toggleAttribute('data-lm-suppress-shortcuts', plain && !(event.shiftKey && event.key === 'Enter'));
    const add = event.target.closest('.beit3-pick-tag input') && find(root, ['tag-add']);
    if (event.key === 'Enter' && plain && !event.shiftKey && !event.isComposing && add) {
      event.preventDefault();
      add.click();
      return;
    }
    const typing = event.target.closest(
      'input:not([type=checkbox]),select,textarea,[role=slider],[contenteditable=true],.beit3-zoomed',
    );
    const button = keys[event.key] && find(root, keys[event.key]);
    if (!button || !plain || event.shiftKey || (typing && event.key !== 'Escape')) return;
    event.preventDefault();
    event.stopPropagation();
    button.click();
  }

  function onClick(event) {
    const root = rootOf(event);
    const button = root && event.target.closest('button');
    if (!button) return;
    keepNamed(root);
    if (button.classList.contains('beit3-question')) pressed.set(root, button);
    if (button.closest('.beit3-below')) showTop(root, button);
    clicked.set(root, button);
    follow(root);
  }

  function onFocus(event) {
    const root = rootOf(event);
    if (root) keepNamed(root);
  }

  window.addEventListener('keydown', onKey, true);
  window.addEventListener('click', onClick, true);
  window.addEventListener('focusin', onFocus, true);
})();
