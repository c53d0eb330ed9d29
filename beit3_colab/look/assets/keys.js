// Keys of the browsers of answers. Every key has its button, so nothing is lost where no script runs.
(() => {
if (window.beit3Keys) return;
window.beit3Keys = true;

const keys = {
  ArrowRight: ['next-answer', 'next'],
  ArrowLeft: ['previous-answer', 'previous'],
  Escape: ['back'],
};
const root = e => e.target instanceof Element && e.target.closest('.beit3-browse');
const usable = b => b && b.offsetParent && !b.disabled;
const button = (root, names) => names.map(n => root.querySelector('button.beit3-' + n)).find(usable);
let card = null; // the one that was opened last

// What ipywidgets leaves without a name for screen readers
function name(root) {
  for (const s of root.querySelectorAll('.beit3-slider')) {
    for (const h of s.querySelectorAll('[role=slider],.ui-slider-handle')) {
      h.setAttribute('role', 'slider');
      h.setAttribute('aria-label', s.querySelector('.widget-label').textContent);
      h.setAttribute('aria-valuetext', s.querySelector('.widget-readout').textContent);
      if (!h.hasAttribute('aria-valuenow')) h.setAttribute('aria-valuenow', 0);
    }
  }
  for (const b of root.querySelectorAll('.widget-toggle-button,.widget-toggle-buttons button')) {
    b.setAttribute('aria-pressed', b.classList.contains('mod-active'));
  }
}

// The keyboard comes along when a button that was pressed disappears; the kernel may be busy: look again for a while
function follow(root, left = 200) {
  const at = document.activeElement, back = button(root, ['back']);
  name(root);
  if (at === document.body || (root.contains(at) && !at.offsetParent)) {
    const opened = card && card.isConnected && card.offsetParent && card;
    const to = back || opened || root.querySelector('.beit3-page input');
    if (to && to.offsetParent) to.focus({preventScroll: true});
  }
  if (left && (at === document.body || root.contains(at))) setTimeout(follow, 50, root, left - 1);
}

window.addEventListener('keydown', e => {
  const r = root(e), plain = !(e.ctrlKey || e.metaKey || e.altKey);
  if (!r) return;
  // on the target itself: JupyterLab looks no further
  e.target.toggleAttribute('data-lm-suppress-shortcuts', plain && !(e.shiftKey && e.key === 'Enter'));
  const typing = e.target.closest('input,select,textarea,[role=slider],[contenteditable=true]');
  const pressed = keys[e.key] && button(r, keys[e.key]);
  if (!pressed || !plain || e.shiftKey || (typing && e.key !== 'Escape')) return;
  e.preventDefault();
  e.stopPropagation();
  pressed.click();
}, true);

window.addEventListener('click', e => {
  const r = root(e), pressed = r && e.target.closest('button');
  if (!pressed) return;
  if (pressed.classList.contains('beit3-question')) card = pressed;
  follow(r);
}, true);

window.addEventListener('focusin', e => {
  const r = root(e);
  if (r) name(r);
}, true);
})()
