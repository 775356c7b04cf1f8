// What a person sees on the page.
() => {
  const all = (node, id) => [...node.querySelectorAll(`[data-testid=${id}]`)];
  const words = node => node ? node.innerText.replace(/\s+/g, ' ').trim() : '';
  const colour = (node, name) => getComputedStyle(node)[name];
  const server = row => ({
    name: row.dataset.name, state: row.dataset.state, health: row.dataset.health, words: words(row),
    colour: colour(row.querySelector('.state'), 'color'), edge: colour(row, 'borderLeftColor'),
    drain: words(all(row, 'drain')[0]),
    line: row.querySelector('.spark path:not(.area)').getAttribute('d') ?? '',
  });
  return {
    node: words(all(document, 'node')[0]), ready: words(all(document, 'ready')[0]),
    stale: words(all(document, 'stale')[0]), background: colour(document.body, 'backgroundColor'),
    services: all(document, 'virtual-service').map(card => ({
      name: card.dataset.name, words: words(card),
      conditions: [...all(card, 'conditions')[0].children].map(words).filter(Boolean),
      servers: all(card, 'real-server').map(server),
    })),
  };
}
