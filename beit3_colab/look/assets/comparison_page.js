// The filter of a comparison's page. Without a script all questions are shown and this form is not.
(() => {
  const at = id => document.getElementById(id), form = at("filters"), home = at("cards"), cards = [...home.children];
  const menus = [...form.querySelectorAll("select")].filter(menu => menu.id !== "order");
  const separators = /["'()\[\]{}\-\/\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\s]+/g;
  const fold = text => " " + text.toLowerCase().replace(separators, " ");
  const texts = cards.map(card =>
    [...card.querySelectorAll("h3, .answer")].map(part => fold(part.textContent)).join(""));
  // each menu's kinds have numbers, and a card has the numbers of its own
  const kinds = cards.map(card => menus.map(menu => card.dataset[menu.id].split(" ")));

  // Words or their beginnings, as in the browser; "in quotes" they stand together. Scripts that set no spaces between
  // words are searched anywhere in a text.
  function wanted() {
    const found = at("words").value.match(/"[^"]*"|[^\s"]+/g) || [];
    return found.map(word => fold(word).trim()).filter(Boolean)
      .map(word => word.charCodeAt(0) < 128 ? " " + word : word);
  }

  function show() {
    const words = wanted();
    let found = 0;
    cards.forEach((card, i) => {
      const fits = menus.every((menu, k) => !menu.value || kinds[i][k].includes(menu.value));
      card.hidden = !(fits && words.every(word => texts[i].includes(word)));
      found += !card.hidden;
    });
    const noun = cards.length === 1 ? "question" : "questions";
    at("count").textContent =
      found === cards.length ? `${found} ${noun}` : `${found} of ${cards.length} ${noun}`;
    at("none").hidden = found > 0;
  }

  function sort() {
    const by = at("order").value, places = cards.map((card, i) => i);
    if (by) places.sort((i, j) => cards[j].dataset[by] - cards[i].dataset[by] || i - j);
    home.append(...places.map(i => cards[i]));
  }

  form.addEventListener("input", event => event.target.id === "order" ? sort() : show());
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { sort(); show(); }));
  form.hidden = false;
  form.reset();
})();
