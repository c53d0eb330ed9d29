// What ipywidgets writes into a page and a reader should not see: the tooltip “null”, and a range as “0-1”.
// It is looked at whenever something changes in a browser, also when a page of cards was turned.
(() => {
  if (window.beit3Names) return;
  window.beit3Names = true;

  const RANGE = /^([\d.]+(?:e-\d+)?)-([\d.]+(?:e-\d+)?)$/;

  function mendTitle(part) {
    if (part.getAttribute('title') === 'null') part.removeAttribute('title');
  }

  function mendRange(part) {
    const found = RANGE.exec(part.textContent);
    if (found) part.textContent = `${found[1]} – ${found[2]}`;
  }

  function mend(root) {
    for (const part of [root, ...root.querySelectorAll('[title="null"]')]) mendTitle(part);
    for (const part of root.querySelectorAll('.widget-readout')) mendRange(part);
  }

  function onChange(records) {
    for (const { target, type, addedNodes } of records) {
      const part = target instanceof Element ? target : target.parentElement;
      if (type === 'attributes') {
        if (part.closest('.beit3-browse')) mendTitle(part);
        continue;
      }
      const range = part && part.closest('.widget-readout');
      if (range) mendRange(range);
      for (const added of addedNodes) {
        if (!(added instanceof Element)) continue;
        if (added.closest('.beit3-browse')) mend(added);
        else for (const root of added.querySelectorAll('.beit3-browse')) mend(root);
      }
    }
  }

  const watched = { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['title'] };
  for (const root of document.querySelectorAll('.beit3-browse')) mend(root);
  new MutationObserver(onChange).observe(document.documentElement, watched);
})();
