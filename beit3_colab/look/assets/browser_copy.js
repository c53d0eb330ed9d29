// A click on "copy" takes the text of the button's data-copy, or of the element beside it. Where this does not run,
// the text stands there to be marked.
(() => {
  if (window.beit3Copy) return;
  window.beit3Copy = true;

  // For pages without navigator.clipboard: those that did not come by https, and frames that may not use it
  function copyBySelection(text) {
    const field = document.createElement('textarea');
    const before = document.activeElement;
    field.value = text;
    field.setAttribute('readonly', '');
    field.style.cssText = 'position:fixed;top:0;left:0;opacity:0';
    document.body.append(field);
    field.select();
    let done = false;
    try {
      done = document.execCommand('copy');
    } catch {
      done = false;
    }
    field.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    return done;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text);
    }
  }

  // The text itself is marked where nothing else helps: then Ctrl+C copies it
  function mark(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  document.addEventListener(
    'click',
    async (event) => {
      const button = event.target instanceof Element && event.target.closest('button.beit3-copy');
      if (!button || !button.closest('.beit3-browse')) return;
      event.preventDefault();
      event.stopPropagation();
      const beside = button.nextElementSibling || button.previousElementSibling;
      const text = button.dataset.copy ?? (beside ? beside.textContent : '');
      const done = await copy(text);
      if (!done && beside) mark(beside);
      const label = button.dataset.label ?? button.textContent;
      button.dataset.label = label;
      button.textContent = done ? '✓ copied' : 'press Ctrl+C';
      setTimeout(() => {
        button.textContent = label;
      }, 1600);
    },
    true,
  );
})();
