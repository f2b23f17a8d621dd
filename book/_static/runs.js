// Every id of a run opens its card, runs/ID.js beside this file: a script, for a page that was
// opened from disk may not read JSON. The address of an open card is PAGE#run-ID.
(() => {
  const folder = new URL("runs/", document.currentScript.src);
  const id = /^[\w-]+-s\d+-[0-9a-f]{8}$/;
  const dialog = document.createElement("dialog");
  dialog.className = "run";
  // A click beside the card closes it, as Escape does.
  dialog.onclick = ({ target }) => target === dialog && dialog.close();
  dialog.onclose = () => {
    if (location.hash.startsWith("#run-")) history.replaceState(null, "", location.href.split("#")[0]);
  };

  // A table shows the end of an id alone, which is a run's own; its filter finds the whole.
  const link = (root) => {
    for (const place of root.querySelectorAll("td, dd, code")) {
      const run = place.textContent.trim();
      if (!id.test(run) || place.closest("a") || place.querySelector("a, code")) continue;
      place.innerHTML = `<a class="run" href="#run-${run}"><span>${run.slice(0, -8)}</span>${
        run.slice(-8)}</a>`;
    }
  };

  window.runCard = (run, card) => {
    if (location.hash !== `#run-${run}`) return; // another was asked for meanwhile
    dialog.innerHTML = `<form method="dialog"><button autofocus>Close</button>${card}</form>`;
    dialog.setAttribute("aria-label", `Run ${run}`);
    link(dialog);
    for (const file of dialog.querySelectorAll('a[href^="."]')) {
      file.href = new URL(file.getAttribute("href"), folder);
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };

  const follow = () => {
    const run = location.hash.slice(5);
    if (!location.hash.startsWith("#run-") || !id.test(run)) return dialog.close();
    const script = document.createElement("script");
    script.onload = () => script.remove();
    script.onerror = () => runCard(run, `<h2>${run}</h2><p>This book has no card of this run.</p>`);
    script.src = new URL(`${run}.js`, folder);
    document.head.append(script);
  };

  addEventListener("DOMContentLoaded", () => {
    document.body.append(dialog);
    link(document);
    addEventListener("hashchange", follow);
    follow();
  });
})();
