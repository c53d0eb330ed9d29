// The filter of a report.
const tagged = {
  'any tag': (card) => card.dataset.tags,
  'no tag': (card) => !card.dataset.tags,
  'with a note': (card) => 'note' in card.dataset,
};
const has = (card, tag) => (card.dataset.tags || '').split(',').includes(tag);

filterCards({
  spoken: (card) => [card.querySelector('h3'), card.querySelector('.said b')].map((part) => part.textContent),
  choose: () => {
    const type = value('type'),
      verdict = value('verdict'),
      tag = value('tag');
    return (card) =>
      (!type || card.dataset.type === type) &&
      (!verdict || card.dataset.verdict === verdict) &&
      (!tag || (tagged[tag] ? tagged[tag](card) : has(card, tag)));
  },
  rank: (by) => (card) => (by === 'unsure' ? -1 : 1) * card.dataset.confidence,
  noun: () => 'answers',
});
