// The picture of an opened answer under the hand: a click goes near, dragging moves it, the wheel with Ctrl zooms.
// All sizes have buttons; this presses them, and brings the point that was meant under the pointer.
(() => {
  if (window.beit3Zoom) return;
  window.beit3Zoom = true;

  const THUMBNAIL = 640; // longest side of a fitted picture, in its own pixels
  const MOVED = 4; // pixels of the pointer that make a drag of a click
  const dressed = new WeakSet();
  let meant = null; // {box, x, y, left, top, until}: share of the picture, and where in the box it shall be
  let turned = 0; // when the wheel did something
  let drag = null; // {box, x, y, left, top, moved}
  let whole = null; // the viewer that has the whole window

  const scrollOf = (e) => (e.target instanceof Element ? e.target.closest('.beit3-browse .beit3-scroll') : null);
  const zoomed = (box) => box.classList.contains('beit3-zoomed');
  const sizes = (box) => {
    const detail = box.closest('.beit3-detail');
    return detail ? [...detail.querySelectorAll('.beit3-zoom button')] : [];
  };
  const level = (buttons) => buttons.findIndex((b) => b.classList.contains('mod-active'));
  const factor = (button) => parseInt(button.textContent, 10) / 100; // NaN of “Fit”

  // How many pixels of the page one of the picture takes now
  function shownScale(box, img) {
    const width = img.naturalWidth || 1;
    const height = img.naturalHeight || 1;
    if (zoomed(box)) return img.clientWidth / width;
    if (Math.max(width, height) >= THUMBNAIL) return 0; // a copy: the original has as many or more
    return Math.min(img.clientWidth / width, img.clientHeight / height);
  }

  // The picture itself within its element, which is wider where it is fitted
  function drawn(img) {
    const r = img.getBoundingClientRect();
    const scale = Math.min(r.width / (img.naturalWidth || 1), r.height / (img.naturalHeight || 1));
    const width = img.naturalWidth * scale;
    const height = img.naturalHeight * scale;
    return { left: r.left + (r.width - width) / 2, top: r.top + (r.height - height) / 2, width, height };
  }

  function press(box, img, e, button) {
    const at = drawn(img);
    const frame = box.getBoundingClientRect();
    meant = {
      box,
      x: (e.clientX - at.left) / at.width,
      y: (e.clientY - at.top) / at.height,
      left: e.clientX - frame.left,
      top: e.clientY - frame.top,
      until: Date.now() + 10000,
    };
    if (!box.closest('.beit3-detail').contains(document.activeElement)) {
      box.tabIndex = -1; // a click on a picture takes the focus to nowhere, and the keys with it
      box.focus({ preventScroll: true });
    }
    button.click();
  }

  // Once the picture has come in its new size
  function settle(box) {
    if (!meant || meant.box !== box) return;
    const img = box.querySelector('img');
    if (Date.now() > meant.until) meant = null;
    if (!meant || !img || !zoomed(box) || !img.matches('.beit3-original')) return;
    const { x, y, left, top } = meant;
    meant = null;
    box.scrollLeft = x * img.clientWidth - left;
    box.scrollTop = y * img.clientHeight - top;
  }

  // The whole window: above everything, wherever the output stands (a cell of JupyterLab clips what is in it)
  function fill(viewer) {
    if (!viewer) return;
    const full = viewer.classList.contains('beit3-full');
    if (full === (viewer === whole)) return;
    const at = document.activeElement;
    whole = full ? viewer : null;
    const modal = { role: 'dialog', 'aria-modal': 'true', 'aria-label': 'The picture in the whole window' };
    for (const [name, value] of Object.entries(modal)) {
      if (full) viewer.setAttribute(name, value);
      else viewer.removeAttribute(name);
    }
    if (viewer.showPopover && full) {
      viewer.setAttribute('popover', 'manual');
      viewer.showPopover();
    } else if (viewer.hasAttribute('popover')) {
      viewer.hidePopover();
      viewer.removeAttribute('popover');
    }
    if (viewer.contains(at) && document.activeElement !== at) at.focus({ preventScroll: true });
    else if (full) hold(at);
  }

  // What Tab reaches in the whole window, in order; nothing where it is not shown
  function stops() {
    if (!whole || !whole.isConnected) return [];
    const all = [...whole.querySelectorAll('button,select,input,textarea,[tabindex]')];
    return all.filter((each) => each.tabIndex >= 0 && !each.disabled && each.offsetParent);
  }

  // Whether the keyboard is with the rest of this browser, which the whole window covers, or nowhere
  function isBehind(target) {
    const root = whole && !whole.contains(target) && whole.closest('.beit3-browse');
    return !!root && (target === document.body || root.contains(target));
  }

  function hold(target) {
    const all = isBehind(target) ? stops() : [];
    const leave = all.find((each) => each.classList.contains('beit3-full-window')) || all[0];
    if (leave) leave.focus({ preventScroll: true });
  }

  // Tab goes round in the whole window; dialogs of the page keep theirs
  function goRound(e) {
    const all = stops();
    const at = document.activeElement;
    if (!all.length || !(whole.contains(at) || isBehind(at))) return;
    const ahead = (each) => at.compareDocumentPosition(each) & Node.DOCUMENT_POSITION_FOLLOWING;
    const left = whole.contains(at) ? all.filter((each) => each !== at && !!ahead(each) === !e.shiftKey) : [];
    if (left.length && all.includes(at)) return; // the browser knows the way
    e.preventDefault();
    const [first, last] = [left[0] || all[0], left.at(-1) || all.at(-1)];
    (e.shiftKey ? last : first).focus();
  }

  function mark(box) {
    const img = box.querySelector('img');
    const scrolls = zoomed(box) && img;
    if (scrolls) {
      box.tabIndex = 0;
      box.setAttribute('role', 'group');
      box.setAttribute('aria-label', img.alt + ', enlarged: the arrow keys move it');
    } else if (box.hasAttribute('tabindex')) {
      box.tabIndex = -1; // it may hold the focus
      for (const each of ['role', 'aria-label']) box.removeAttribute(each);
    }
    settle(box);
  }

  // Boxes are there before they are used, and stay
  function dress(root) {
    for (const box of root.querySelectorAll('.beit3-scroll')) {
      if (dressed.has(box)) continue;
      dressed.add(box);
      box.classList.add('beit3-hand');
      const viewer = box.closest('.beit3-viewer');
      new MutationObserver(() => mark(box)).observe(box, {
        attributeFilter: ['class'],
        childList: true,
        subtree: true,
      });
      if (viewer) new MutationObserver(() => fill(viewer)).observe(viewer, { attributeFilter: ['class'] });
      // two pictures side by side show the same place
      box.addEventListener('scroll', () => {
        const others = viewer ? viewer.querySelectorAll('.beit3-scroll.beit3-zoomed') : [];
        for (const other of others) {
          if (other === box) continue;
          if (Math.abs(other.scrollLeft - box.scrollLeft) > 1) other.scrollLeft = box.scrollLeft;
          if (Math.abs(other.scrollTop - box.scrollTop) > 1) other.scrollTop = box.scrollTop;
        }
      });
      mark(box);
      fill(viewer);
    }
  }

  window.addEventListener(
    'keydown',
    (e) => {
      if (e.ctrlKey || e.altKey || e.metaKey) return;
      if (e.key === 'Tab') goRound(e);
      const leave = e.key === 'Escape' && e.target === document.body && stops().length;
      if (leave) whole.querySelector('button.beit3-full-close').click(); // the focus was nowhere
    },
    true,
  );

  window.addEventListener('focusin', (e) => hold(e.target), true);

  for (const kind of ['pointerover', 'focusin', 'click']) {
    window.addEventListener(
      kind,
      (e) => {
        const root = e.target instanceof Element && e.target.closest('.beit3-browse');
        if (root) dress(root);
      },
      true,
    );
  }

  window.addEventListener('pointerdown', (e) => {
    const box = scrollOf(e);
    if (!box || e.button !== 0 || e.pointerType === 'touch' || !e.target.matches('img')) return; // a finger scrolls
    drag = { box, x: e.clientX, y: e.clientY, left: box.scrollLeft, top: box.scrollTop, moved: false };
  });

  window.addEventListener('pointermove', (e) => {
    if (!drag) return;
    const x = e.clientX - drag.x;
    const y = e.clientY - drag.y;
    if (Math.abs(x) + Math.abs(y) > MOVED) drag.moved = true;
    if (!drag.moved || !zoomed(drag.box)) return;
    drag.box.classList.add('beit3-dragged');
    drag.box.scrollLeft = drag.left - x;
    drag.box.scrollTop = drag.top - y;
  });

  for (const kind of ['pointerup', 'pointercancel']) {
    window.addEventListener(kind, () => {
      if (!drag) return;
      const ended = drag;
      ended.box.classList.remove('beit3-dragged');
      setTimeout(() => {
        if (drag === ended) drag = null; // after the click that follows
      });
    });
  }

  window.addEventListener('dragstart', (e) => {
    if (scrollOf(e)) e.preventDefault(); // the browser would carry the picture away
  });

  window.addEventListener('click', (e) => {
    const box = scrollOf(e);
    if (!box || !e.target.matches('img') || (drag && drag.moved)) return;
    const buttons = sizes(box);
    if (!buttons.length) return;
    const scale = shownScale(box, e.target);
    const nearer = buttons.find((b) => factor(b) >= 1 && factor(b) > 1.02 * scale);
    press(box, e.target, e, zoomed(box) || !nearer ? buttons[0] : nearer);
  });

  window.addEventListener(
    'wheel',
    (e) => {
      const box = e.ctrlKey && scrollOf(e);
      const img = box && box.querySelector('img');
      if (!img) return;
      e.preventDefault(); // the whole page would grow
      const buttons = sizes(box);
      const now = level(buttons);
      const next = buttons[now + (e.deltaY < 0 ? 1 : -1)];
      if (now < 0 || !next || Date.now() - turned < 250) return; // one step at a time
      turned = Date.now();
      press(box, img, e, next);
    },
    { passive: false, capture: true },
  );
})();
