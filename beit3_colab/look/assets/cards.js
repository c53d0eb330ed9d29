// What the filters of a report's page and of a comparison's have in common. Without a script all cards are shown and
// their form is not. A page says how its cards are searched, chosen and sorted:
//   spoken(card)  texts in which words are found: the question first, then the answers
//   choose()      what the menus ask for now, as a function of a card: whether it fits
//   rank(by)      a number of each card, as a function of the card; the largest comes first
//   noun(n)       what n cards are called
const at = (id) => document.getElementById(id);
const value = (id) => (at(id) ? at(id).value : '');

// A search text means what it means in the browser of a run: all parts must fit, each after a - must not; of terms with
// | or OR between them one must fit; answer: asks for a whole answer (cat* for its beginning), question: for words of
// the question. Returns the parts, or throws what is wrong with the text.
const TERM = /(-(?=[^\s|]))?(?:([A-Za-z_]+):(?!\/\/)\s*)?(?:"([^"]*)"|([^\s"|]+))?/y;
const BETWEEN = /\s*\|[\s|]*|\s+OR\s+(?=\S)/y;

function parseSearch(text) {
  const parts = [];
  const match = (form, at) => {
    form.lastIndex = at;
    return form.exec(text);
  };
  function term(found, before) {
    const field = (found[2] || '').toLowerCase() || before;
    if (!['', 'answer', 'question'].includes(field)) {
      throw new Error(`${found[2]}: is not searched in this page; there are answer: and question:`);
    }
    if (found[3] !== undefined) return { field, value: found[3].trim() };
    if (found[4] === undefined) throw new Error(`${field}: needs a value, such as ${field}:yes`);
    const value = found[4].replace(/\*+$/, '') || found[4];
    return { field, value, begins: value !== found[4] };
  }
  let at = 0;
  while (at < text.length) {
    let found = match(TERM, at);
    if (found[0] === '' || found[0] === '-') {
      at += 1;
      continue;
    }
    const part = { without: Boolean(found[1]), terms: [term(found, '')] };
    at += found[0].length;
    for (let between; (between = match(BETWEEN, at)); at += between[0].length + found[0].length) {
      found = match(TERM, at + between[0].length);
      if (found[0] === '' || found[0] === '-') break;
      if (found[1]) throw new Error('- stands before the whole: -cat|dog is neither cat nor dog');
      part.terms.push(term(found, part.terms[part.terms.length - 1].field));
    }
    parts.push(part);
  }
  return parts;
}

function filterCards({ spoken, choose, rank, noun }) {
  const form = at('filters');
  const home = at('cards');
  const cards = [...home.children];
  const separators = /["'()[\]{}\-/\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\s]+/g;
  const fold = (text) => ' ' + text.toLowerCase().normalize('NFC').replace(separators, ' ');
  const whole = (text) => text.trim().toLowerCase().normalize('NFC');
  const texts = cards.map((card) => {
    const [question, ...answers] = spoken(card);
    return { '': [question, ...answers].map(fold).join(''), question: fold(question), answer: answers.map(whole) };
  });

  // Words or their beginnings; "in quotes" they stand together. Scripts that set no spaces between words are searched
  // anywhere in a text.
  function asFits(term) {
    const said = whole(term.value);
    if (term.field === 'answer') {
      return (of) => of.answer.some((text) => (term.begins ? text.startsWith(said) : text === said));
    }
    const word = fold(term.value).trim();
    const sought = word.charCodeAt(0) < 128 ? ' ' + word : word;
    return word ? (of) => of[term.field].includes(sought) : null;
  }

  function wanted() {
    const parts = parseSearch(value('words')).map(({ terms, without }) => ({
      without,
      tests: terms.map(asFits).filter(Boolean),
    }));
    return parts.filter((part) => part.tests.length);
  }

  function show() {
    let parts = [];
    let wrong = '';
    try {
      parts = wanted();
    } catch (error) {
      wrong = error.message;
    }
    const fits = choose();
    let found = 0;
    cards.forEach((card, i) => {
      const said = parts.every(({ without, tests }) => without !== tests.some((test) => test(texts[i])));
      card.hidden = Boolean(wrong) || !(fits(card) && said);
      found += !card.hidden;
    });
    const all = `${cards.length} ${noun(cards.length)}`;
    at('count').textContent = wrong || (found === cards.length ? all : `${found} of ${all}`);
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
