// The search of a report's page and of a comparison's: the same text finds the same as in the browser of a run.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openPage } from './page.js';

const CARDS = [
  ['Is the cat asleep?', 'yes'],
  ['What color is the dog?', 'brown'],
  ['What is in the box?', 'cat'],
  ['How many cats are there?', '2'],
  ['Is it day?', 'no'],
  ['Is “yes” written there?', 'yes it is'],
  ['Is this a café?', 'thé'],
];
const card = ([question, answer], i) =>
  `<article id="c${i}"><h3>${question}</h3><p class="said"><b>${answer}</b></p></article>`;
const PAGE = `<form id="filters" hidden><input id="words"><output id="count"></output></form><p id="none"></p>
<div id="cards">${CARDS.map(card).join('')}</div>`;

const read = (name) => readFileSync(new URL(`../../beit3_colab/look/assets/${name}`, import.meta.url), 'utf8');

function open() {
  const page = openPage(PAGE);
  page.window.eval(read('cards.js') + read('report.js'));
  page.search = (text) => {
    const field = page.$('#words');
    field.value = text;
    field.dispatchEvent(new page.window.Event('input', { bubbles: true }));
    const shown = [...page.document.querySelectorAll('article:not([hidden])')].map((each) => Number(each.id.slice(1)));
    return shown.sort((a, b) => a - b);
  };
  return page;
}

const FINDS = {
  '': [0, 1, 2, 3, 4, 5, 6],
  cat: [0, 2, 3],
  '-cat': [1, 4, 5, 6],
  'is -cat': [1, 4, 5, 6],
  'cat|dog': [0, 1, 2, 3],
  'cat | dog': [0, 1, 2, 3],
  'cat OR dog': [0, 1, 2, 3],
  '-cat|dog': [4, 5, 6],
  'answer:yes': [0],
  'answer:YES|no': [0, 4],
  'answer:yes*': [0, 5],
  '-answer:yes': [1, 2, 3, 4, 5, 6],
  'answer:"yes it is"': [5],
  'question:cat': [0, 3],
  'question:cat answer:2': [3],
  '"in the"': [2],
  '-"in the" cat': [0, 3],
  '((': [0, 1, 2, 3, 4, 5, 6],
  '-': [0, 1, 2, 3, 4, 5, 6],
  'cat"': [0, 2, 3],
  'cafe\u0301': [6], // an accent of its own, as macOS writes it
  'answer:the\u0301': [6],
};
for (const [text, found] of Object.entries(FINDS)) {
  test(`${text || 'nothing'} finds ${found.length}`, () => {
    const page = open();
    assert.deepEqual(page.search(text), found);
    const all = found.length === CARDS.length ? '7 answers' : `${found.length} of 7 answers`;
    assert.equal(page.$('#count').textContent, all);
  });
}

test('what cannot be meant is told, and finds nothing', () => {
  const page = open();
  assert.deepEqual(page.search('people:yes'), []);
  assert.match(page.$('#count').textContent, /people: is not searched in this page; there are answer: and question:/);
  assert.deepEqual(page.search('answer:'), []);
  assert.match(page.$('#count').textContent, /answer: needs a value, such as answer:yes/);
  assert.deepEqual(page.search('cat|-dog'), []);
  assert.match(page.$('#count').textContent, /stands before the whole/);
  assert.deepEqual(page.search('cat'), [0, 2, 3]);
  assert.equal(page.$('#count').textContent, '3 of 7 answers');
});
