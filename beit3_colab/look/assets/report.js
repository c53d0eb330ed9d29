// The filter of a report. Without a script all answers are shown and this form is not.
(() => {
  const at = id => document.getElementById(id), form = at("filters"), home = at("cards"), cards = [...home.children];
  const separators = /["'()\[\]{}\-\/\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\s]+/g;
  const fold = text => " " + text.toLowerCase().replace(separators, " ");
  const texts = cards.map(card =>
    fold(card.querySelector("h3").textContent) + fold(card.querySelector(".said b").textContent));
  const value = id => at(id) ? at(id).value : "";

  // Words or their beginnings, as in the browser of a run; "in quotes" they stand together. Scripts that set no
  // spaces between words are searched anywhere in a text.
  function wanted() {
    const found = value("words").match(/"[^"]*"|[^\s"]+/g) || [];
    return found.map(word => fold(word).trim()).filter(Boolean)
      .map(word => word.charCodeAt(0) < 128 ? " " + word : word);
  }

  function show() {
    const words = wanted(), type = value("type"), verdict = value("verdict");
    let found = 0;
    cards.forEach((card, i) => {
      const fits = (!type || card.dataset.type === type) && (!verdict || card.dataset.verdict === verdict);
      card.hidden = !(fits && words.every(word => texts[i].includes(word)));
      found += !card.hidden;
    });
    at("count").textContent =
      found === cards.length ? `${found} answers` : `${found} of ${cards.length} answers`;
    at("none").hidden = found > 0;
  }

  function sort() {
    const by = value("order"), sign = by === "unsure" ? 1 : -1, places = cards.map((card, i) => i);
    const confidence = i => cards[i].dataset.confidence;
    if (by) places.sort((i, j) => sign*(confidence(i) - confidence(j)) || i - j);
    home.append(...places.map(i => cards[i]));
  }

  form.addEventListener("input", event => event.target.id === "order" ? sort() : show());
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { sort(); show(); }));
  form.hidden = false;
  form.reset();
})();
