// Notes what the page shows of each snapshot, from now on. `look` is what seen.js is.
look => {
  window.noted = [];
  const note = () => {
    const at = Date.parse(latest.time);
    if (noted.at(-1)?.at !== at) noted.push({ at, seen: look() });
  };
  note();
  const everything = { subtree: true, childList: true, attributes: true, characterData: true };
  // Told when the page's script has done with a snapshot.
  new MutationObserver(note).observe(document, everything);
}
