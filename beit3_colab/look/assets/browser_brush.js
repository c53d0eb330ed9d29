// Drawing over the bars of a histogram with the mouse, taking filters away with Delete, names for the ends of a range.
// The slider below the bars does the same from the keyboard, and every chip is a button: nothing is lost without this.
(() => {
  if (window.beit3Brush) return;
  window.beit3Brush = true;

  let drag = null; // {part, bars, from, to}
  let drawn = 0; // how often, so that the same bars may be drawn over twice
  let swallow = false; // the click that ends a drawing

  const inside = (target, selector) => target instanceof Element && target.closest(selector);
  const barsOf = (part) => [...part.querySelectorAll('button.beit3-bar-button')].filter((bar) => bar.offsetParent);

  // The bar below the mouse, or the one at the nearer end
  function barAt(bars, x) {
    const beyond = bars.findIndex((bar) => x < bar.getBoundingClientRect().right);
    return beyond < 0 ? bars.length - 1 : beyond;
  }

  function mark(bars, from, to) {
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    bars.forEach((bar, i) => bar.classList.toggle('beit3-drawing', first <= i && i <= last));
  }

  function clear() {
    if (drag) for (const bar of drag.bars) bar.classList.remove('beit3-drawing');
    drag = null;
  }

  // Into the control that the kernel listens to
  function send(part, from, to) {
    const field = part.querySelector('.beit3-brush input');
    if (!field) return;
    drawn += 1;
    field.value = `${from} ${to} ${drawn}`;
    for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true }));
  }

  window.addEventListener(
    'pointerdown',
    (event) => {
      const part = inside(event.target, '.beit3-browse .beit3-brushed');
      if (!part || event.button !== 0 || !inside(event.target, '.beit3-bar-buttons')) return;
      const bars = barsOf(part);
      if (!bars.length) return;
      const from = barAt(bars, event.clientX);
      drag = { part, bars, from, to: from };
    },
    true,
  );

  window.addEventListener(
    'pointermove',
    (event) => {
      if (!drag) return;
      drag.to = barAt(drag.bars, event.clientX);
      if (drag.to !== drag.from || drag.moved) {
        drag.moved = true;
        event.preventDefault();
        mark(drag.bars, drag.from, drag.to);
      }
    },
    true,
  );

  window.addEventListener(
    'pointerup',
    () => {
      if (!drag) return;
      const { part, from, to, moved } = drag;
      clear();
      if (!moved) return; // a click on a bar is the button's own
      swallow = true;
      setTimeout(() => {
        swallow = false;
      }, 0);
      send(part, from, to);
    },
    true,
  );

  window.addEventListener('pointercancel', clear, true);

  window.addEventListener(
    'click',
    (event) => {
      if (!swallow || !inside(event.target, '.beit3-brushed')) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );

  window.addEventListener(
    'keydown',
    (event) => {
      if (event.key === 'Escape' && drag) clear();
      const chip = inside(event.target, '.beit3-browse button.beit3-active-filter');
      if (!chip || (event.key !== 'Delete' && event.key !== 'Backspace')) return;
      event.preventDefault();
      event.stopPropagation();
      chip.click();
    },
    true,
  );

  // What ipywidgets leaves without a name for screen readers
  function nameEnds(root) {
    for (const range of root.querySelectorAll('.beit3-range')) {
      const [low, high] = range.querySelectorAll('.noUi-handle,.ui-slider-handle');
      const text = (range.querySelector('.widget-readout') || { textContent: '' }).textContent;
      const label = (range.querySelector('.widget-label') || { textContent: 'Confidence' }).textContent;
      for (const [end, name] of [
        [low, 'from'],
        [high, 'to'],
      ]) {
        if (!end) continue;
        end.setAttribute('role', 'slider');
        end.setAttribute('aria-label', `${label} ${name}`);
        end.setAttribute('aria-valuetext', text);
        if (!end.hasAttribute('aria-valuenow')) end.setAttribute('aria-valuenow', 0);
      }
    }
  }

  window.addEventListener(
    'keyup',
    (event) => {
      const root = inside(event.target, '.beit3-browse .beit3-range') && inside(event.target, '.beit3-browse');
      if (root) setTimeout(nameEnds, 0, root); // the slider itself tells the place of the stop, not its value
    },
    true,
  );

  for (const kind of ['focusin', 'pointerover']) {
    window.addEventListener(
      kind,
      (event) => {
        const root = inside(event.target, '.beit3-browse');
        if (root) nameEnds(root);
      },
      true,
    );
  }
})();
