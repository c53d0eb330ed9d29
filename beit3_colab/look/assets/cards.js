// What the filters of a report's page and of a comparison's have in common. Without a script all cards are shown and
// their form is not. A page says how its cards are searched, chosen and sorted:
//   spoken(card)  texts in which words are found
//   choose()      what the menus ask for now, as a function of a card: whether it fits
//   rank(by)      a number of each card, as a function of the card; the largest comes first
//   noun(n)       what n cards are called
const at = (id) => document.getElementById(id);
const value = (id) => (at(id) ? at(id).value : '');

function filterCards({ spoken, choose, rank, noun }) {
  const form = at('filters');
  const home = at('cards');
  const cards = [...home.children];
  const separators = /["'()[\]{}\-/\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\s]+/g;
  const fold = (text) => ' ' + text.toLowerCase().replace(separators, ' ');
  const texts = cards.map((card) => spoken(card).map(fold).join(''));

  // Words or their beginnings, as in the browser of a run; "in quotes" they stand together. Scripts that set no
  // spaces between words are searched anywhere in a text.
  function wanted() {
    const found = value('words').match(/"[^"]*"|[^\s"]+/g) || [];
    return found
      .map((word) => fold(word).trim())
      .filter(Boolean)
      .map((word) => (word.charCodeAt(0) < 128 ? ' ' + word : word));
  }

  function show() {
    const words = wanted();
    const fits = choose();
    let found = 0;
    cards.forEach((card, i) => {
      card.hidden = !(fits(card) && words.every((word) => texts[i].includes(word)));
      found += !card.hidden;
    });
    const all = `${cards.length} ${noun(cards.length)}`;
    at('count').textContent = found === cards.length ? all : `${found} of ${all}`;
    at('none').hidden = found > 0;
  }

  function sort() {
    const by = value('order');
    const ranks = by ? cards.map(rank(by)) : [];
    const places = cards.map((card, i) => i);
    if (by) places.sort((i, j) => ranks[j] - ranks[i] || i - j);
    home.append(...places.map((i) => cards[i]));
  }

  form.addEventListener('input', (event) => (event.target.id === 'order' ? sort() : show()));
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () =>
    setTimeout(() => {
      sort();
      show();
    }),
  );
  form.hidden = false;
  form.reset();
}
