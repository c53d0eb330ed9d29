// The filter of a comparison's page: each menu's kinds have numbers, and a card has the numbers of its own.
const menus = [...at('filters').querySelectorAll('select')].filter((menu) => menu.id !== 'order');
filterCards({
  spoken: (card) => [...card.querySelectorAll('h3, .answer')].map((part) => part.textContent),
  choose: () => {
    const chosen = menus.filter((menu) => menu.value);
    return (card) => chosen.every((menu) => card.dataset[menu.id].split(' ').includes(menu.value));
  },
  rank: (by) => (card) => Number(card.dataset[by]),
  noun: (n) => (n === 1 ? 'question' : 'questions'),
});
