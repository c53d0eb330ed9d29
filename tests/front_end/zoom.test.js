// A click goes near to its point, dragging moves the picture, the wheel with Ctrl goes from size to size,
// and the whole window is left with the focus where it was.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { JSDOM } from 'jsdom';

const asset = (name) => readFileSync(new URL(`../../beit3_colab/look/assets/${name}`, import.meta.url), 'utf-8');
const SIZES = ['Fit', '100 %', '200 %', '400 %'];

const page = `<div class="beit3-browse"><div class="beit3-detail">
  <button class="beit3-back">back</button><button class="beit3-next-answer">next</button>
  <div class="beit3-viewer">
    <div class="beit3-zoom">${SIZES.map((s) => `<button>${s}</button>`).join('')}</div>
    <button class="beit3-full-window">Full window</button>
    <div class="beit3-scroll"><div class="beit3-large"><div class="beit3-frame"><img alt="picture 7"></div></div></div>
  </div></div></div><p id="outside">other text</p>`;

// A page whose kernel answers at once: what the buttons do in Python happens here
function open({ natural = [320, 240], shown = [540, 405], at = 0 } = {}) {
  const dom = new JSDOM(page, { runScripts: 'outside-only', pretendToBeVisual: true });
  const { window } = dom;
  after(() => window.close()); // else its timers go on for seconds, and Node waits for them
  const { document } = window;
  const box = document.querySelector('.beit3-scroll');
  const buttons = [...document.querySelectorAll('.beit3-zoom button')];
  const state = { pressed: [], level: at };
  Object.defineProperty(window.HTMLElement.prototype, 'offsetParent', { get: () => document.body });
  box.getBoundingClientRect = () => ({ left: 100, top: 50, width: 540, height: 430 });

  function dress(img, size) {
    Object.defineProperties(img, {
      naturalWidth: { value: natural[0] },
      naturalHeight: { value: natural[1] },
      clientWidth: { value: size[0] },
      clientHeight: { value: size[1] },
    });
    img.getBoundingClientRect = () => ({
      left: 100 - box.scrollLeft,
      top: 50 - box.scrollTop,
      width: size[0],
      height: size[1],
    });
  }
  function show(level) {
    const factor = [0, 1, 2, 4][level];
    const size = factor ? natural.map((side) => side * factor) : shown;
    const img = document.createElement('img');
    img.alt = 'picture 7';
    if (factor) img.className = 'beit3-original';
    dress(img, size);
    box.querySelector('.beit3-large').replaceChildren(img);
    box.classList.toggle('beit3-zoomed', factor > 0);
    buttons.forEach((b, i) => b.classList.toggle('mod-active', i === level));
    state.level = level;
  }
  buttons.forEach((b, i) =>
    b.addEventListener('click', () => {
      state.pressed.push(b.textContent);
      show(i);
    }),
  );
  show(at);
  window.Element.prototype.scrollIntoView = () => {}; // jsdom has none
  window.eval(asset('browser_keys.js'));
  window.eval(asset('browser_zoom.js'));
  const fire = (kind, x, y, options = {}) => {
    const made = new window.MouseEvent(kind, { bubbles: true, cancelable: true, clientX: x, clientY: y, ...options });
    if (kind.startsWith('pointer')) Object.defineProperty(made, 'pointerType', { value: options.pointer || 'mouse' });
    if (options.deltaY) Object.defineProperty(made, 'deltaY', { value: options.deltaY });
    (options.on || box.querySelector('img')).dispatchEvent(made);
    return made;
  };
  const settle = () => new Promise((done) => setTimeout(done, 20));
  document.querySelector('.beit3-back').dispatchEvent(new window.Event('pointerover', { bubbles: true }));
  return { window, document, box, state, fire, settle, show };
}

test('a click shows its point enlarged under the pointer, and the next one all of it', async () => {
  const { box, state, fire, settle, document } = open();
  fire('click', 100 + 270, 50 + 202); // the middle of a picture that is fitted at 169 %
  await settle();
  assert.deepEqual(state.pressed, ['200 %']); // 100 % would be smaller
  assert.equal(Math.round(box.scrollLeft), 320 - 270);
  assert.equal(Math.round(box.scrollTop), 239 - 202);
  assert.equal(document.activeElement, box); // so that arrow keys move it
  fire('click', 370, 252);
  assert.deepEqual(state.pressed, ['200 %', 'Fit']);
});

test('of a copy with 640 pixels the original is shown at 100 %', async () => {
  const { state, fire } = open({ natural: [640, 480], shown: [540, 405] });
  fire('click', 200, 100);
  assert.deepEqual(state.pressed, ['100 %']);
});

test('dragging moves the picture and is no click; a finger scrolls by itself', async () => {
  const { box, state, fire, settle } = open({ at: 3 });
  box.scrollLeft = 200;
  fire('pointerdown', 300, 200);
  fire('pointermove', 250, 170);
  assert.deepEqual([box.scrollLeft, box.scrollTop, box.classList.contains('beit3-dragged')], [250, 30, true]);
  fire('pointerup', 250, 170);
  fire('click', 250, 170);
  assert.deepEqual([state.pressed, box.classList.contains('beit3-dragged')], [[], false]);
  await settle();
  fire('pointermove', 100, 100);
  assert.equal(box.scrollLeft, 250); // let go
  fire('pointerdown', 300, 200, { pointer: 'touch' });
  fire('pointermove', 250, 170);
  assert.equal(box.scrollLeft, 250);
  fire('pointerup', 250, 170);
  assert.equal(fire('dragstart', 250, 170).defaultPrevented, true);
});

test('the wheel with Ctrl goes from size to size and not beyond; without Ctrl it is the page’s', async () => {
  const { state, fire } = open();
  assert.equal(fire('wheel', 200, 100, { deltaY: -100 }).defaultPrevented, false);
  assert.deepEqual(state.pressed, []);
  for (const deltaY of [-100, -100, 100, 100, 100]) {
    const sent = fire('wheel', 200, 100, { deltaY, ctrlKey: true });
    assert.equal(sent.defaultPrevented, true);
    await new Promise((done) => setTimeout(done, 270)); // a touchpad sends dozens: one step at a time
  }
  assert.deepEqual(state.pressed, ['100 %', '200 %', '100 %', 'Fit']);
  fire('wheel', 200, 100, { deltaY: -1, ctrlKey: true });
  fire('wheel', 200, 100, { deltaY: -1, ctrlKey: true });
  assert.deepEqual(state.pressed.slice(4), ['100 %']);
});

test('an enlarged picture can be focused, says what it is, and keeps its place when another comes', async () => {
  const { box, show, settle } = open();
  assert.equal(box.hasAttribute('tabindex'), false);
  show(2);
  await settle();
  assert.deepEqual([box.tabIndex, box.getAttribute('role')], [0, 'group']);
  assert.match(box.getAttribute('aria-label'), /^picture 7, enlarged/);
  box.focus();
  box.scrollLeft = 77;
  show(2); // → to the next answer
  await settle();
  assert.deepEqual([box.scrollLeft, box.ownerDocument.activeElement], [77, box]);
  show(0);
  await settle();
  assert.deepEqual([box.tabIndex, box.hasAttribute('aria-label'), box.ownerDocument.activeElement], [-1, false, box]);
});

test('arrow keys in an enlarged picture move it and turn no answer; elsewhere they do', async () => {
  const { window, document, box, show, settle } = open();
  let turned = 0;
  document.querySelector('.beit3-next-answer').addEventListener('click', () => turned++);
  const press = (on) =>
    on.dispatchEvent(new window.KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true, cancelable: true }));
  show(2);
  await settle();
  assert.equal(press(box), true);
  assert.equal(turned, 0);
  press(document.querySelector('.beit3-back'));
  assert.equal(turned, 1);
});

test('the whole window is above everything, and Escape leaves it before it leaves the answer', async () => {
  const { window, document, settle } = open();
  const viewer = document.querySelector('.beit3-viewer');
  const button = document.querySelector('.beit3-full-window');
  const seen = [];
  viewer.showPopover = () => seen.push('shown');
  viewer.hidePopover = () => seen.push('hidden');
  document.querySelector('.beit3-back').addEventListener('click', () => seen.push('back'));
  button.addEventListener('click', () => {
    for (const [e, name] of [
      [viewer, 'beit3-full'],
      [button, 'beit3-full-close'],
    ]) {
      e.classList.toggle(name);
    }
  });
  button.focus();
  button.click();
  await settle();
  assert.deepEqual([seen, viewer.getAttribute('popover')], [['shown'], 'manual']);
  const escape = () => button.dispatchEvent(new window.KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  escape();
  await settle();
  assert.deepEqual([seen, viewer.hasAttribute('popover')], [['shown', 'hidden'], false]);
  assert.equal(document.activeElement, button);
  escape();
  assert.deepEqual(seen, ['shown', 'hidden', 'back']);
});

// The kernel's answer to the button of the whole window
function fillWindow({ document }) {
  const viewer = document.querySelector('.beit3-viewer');
  const button = document.querySelector('.beit3-full-window');
  viewer.classList.toggle('beit3-full');
  button.classList.toggle('beit3-full-close');
  return { viewer, button };
}

test('Tab goes round in the whole window, and nothing behind it gets the keyboard', async () => {
  const page = open();
  const { window, document, box, settle } = page;
  const fit = document.querySelector('.beit3-zoom button');
  const { viewer, button } = fillWindow(page);
  await settle();
  assert.deepEqual(
    [viewer.getAttribute('role'), viewer.getAttribute('aria-modal'), document.activeElement],
    ['dialog', 'true', button], // it was nowhere
  );
  const tab = (shiftKey = false) => {
    const event = new window.KeyboardEvent('keydown', { key: 'Tab', shiftKey, bubbles: true, cancelable: true });
    document.activeElement.dispatchEvent(event);
    return [event.defaultPrevented, document.activeElement];
  };
  assert.deepEqual(tab(), [true, fit]); // from the last to the first
  assert.deepEqual(tab(true), [true, button]); // and back
  fit.focus();
  assert.deepEqual(tab(), [false, fit]); // within, the browser knows the way
  box.tabIndex = -1;
  box.focus(); // as after a click on the picture
  assert.deepEqual(tab(), [true, fit]);
  document.activeElement.blur();
  assert.deepEqual(tab(), [true, fit]);
  document.querySelector('.beit3-back').focus(); // whoever puts it behind the picture
  assert.equal(document.activeElement, button);
  document.activeElement.blur();
  let left = 0;
  button.addEventListener('click', () => left++);
  document.body.dispatchEvent(new window.KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  assert.equal(left, 1);
});

test('after the whole window, and in what is no part of it, Tab is as ever', async () => {
  const page = open();
  const { window, document, settle } = page;
  const outside = document.getElementById('outside');
  outside.tabIndex = 0;
  const tab = () => {
    const event = new window.KeyboardEvent('keydown', { key: 'Tab', bubbles: true, cancelable: true });
    document.activeElement.dispatchEvent(event);
    return event.defaultPrevented;
  };
  const { viewer } = fillWindow(page);
  await settle();
  outside.focus(); // such as a dialog of JupyterLab
  assert.deepEqual([tab(), document.activeElement], [false, outside]);
  fillWindow(page);
  await settle();
  document.querySelector('.beit3-back').focus();
  assert.deepEqual([tab(), document.activeElement.className], [false, 'beit3-back']);
  assert.deepEqual([viewer.hasAttribute('role'), viewer.hasAttribute('aria-modal')], [false, false]);
});

test('two pictures show the same place', async () => {
  const { window, document, box, show, settle } = open();
  const other = box.cloneNode(true);
  box.after(other);
  document.querySelector('.beit3-back').dispatchEvent(new window.Event('pointerover', { bubbles: true }));
  show(2);
  other.classList.add('beit3-zoomed');
  await settle();
  box.scrollLeft = 120;
  box.dispatchEvent(new window.Event('scroll'));
  assert.equal(other.scrollLeft, 120);
});

test('text and pictures outside browsers are left alone', () => {
  const { document, state, fire } = open();
  const outside = document.getElementById('outside');
  fire('click', 1, 1, { on: outside });
  const wheel = fire('wheel', 1, 1, { on: outside, deltaY: -100, ctrlKey: true });
  assert.deepEqual([state.pressed, wheel.defaultPrevented], [[], false]);
});
