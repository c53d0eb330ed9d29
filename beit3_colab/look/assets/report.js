// The filter of a report.
filterCards({
  spoken: (card) => [card.querySelector('h3'), card.querySelector('.said b')].map((part) => part.textContent),
  choose: () => {
    const type = value('type'),
      verdict = value('verdict');
    return (card) => (!type || card.dataset.type === type) && (!verdict || card.dataset.verdict === verdict);
  },
  rank: (by) => (card) => (by === 'unsure' ? -1 : 1) * card.dataset.confidence,
  noun: () => 'answers',
});
