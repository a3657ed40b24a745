'use strict';
// Nothing depends on this: every page works without it. It fetches a page again when the server
// says that something changed, and moves through tables and pages by keys.
(() => {
  // A page that is only on the way: its form is what a person would press.
  const onward = document.querySelector('form[data-onward]');
  if (onward) { onward.requestSubmit(); return; }
  const main = () => document.getElementById('main');
  const busy = () => {
    const at = document.activeElement;
    const typing = at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && main().contains(at);
    const touched = [...main().querySelectorAll('textarea, input[type=text]')]
      .some((field) => field.value !== field.defaultValue);
    const ticked = [...main().querySelectorAll('input[type=checkbox]')]
      .some((box) => box.checked !== box.defaultChecked);
    return typing || touched || ticked || main().querySelector('form[data-sent]');
  };
  const open = () => new Set([...main().querySelectorAll('details[open][id]')].map((d) => d.id));
  const reload = async () => {
    const answer = await fetch(location.href, { credentials: 'same-origin' });
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = next.getElementById('main');
    if (!fresh) return;
    const kept = open();
    main().replaceChildren(...fresh.childNodes);
    for (const id of kept) document.getElementById(id)?.setAttribute('open', '');
    document.title = next.title;
    document.body.dataset.live = next.body.dataset.live || '';
    listen();
  };
  const offer = () => {
    if (document.querySelector('.stale')) return;
    const button = document.createElement('button');
    button.className = 'stale';
    button.type = 'button';
    button.textContent = 'Something changed: show it';
    button.addEventListener('click', () => { button.remove(); reload(); });
    document.body.append(button);
  };
  let source;
  const listen = () => {
    source?.close();
    const url = document.body.dataset.live;
    if (!url || !window.EventSource) return;
    source = new EventSource(url);
    source.addEventListener('changed', () => {
      source.close();
      if (busy()) offer(); else reload();
    });
  };
  listen();
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) source?.close(); else listen();
  });
  // A form that was sent is sent once.
  document.addEventListener('submit', (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = '1';
  });
  window.addEventListener('pageshow', () => {
    document.querySelectorAll('form[data-sent]').forEach((form) => form.removeAttribute('data-sent'));
  });
  // j and k move through rows, Enter opens one, g and a letter goes to a page, / to the search.
  let row = -1;
  let going = false;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (going) {
      going = false;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const links = [...main().querySelectorAll('[data-row] a[data-open], a[data-row]')];
    if (event.key === 'g') going = true;
    else if (event.key === 'j' || event.key === 'k') {
      if (!links.length) return;
      row = Math.max(0, Math.min(links.length - 1, row + (event.key === 'j' ? 1 : -1)));
      links[row].focus();
    } else if (event.key === '/') {
      const field = main().querySelector('input, select');
      if (field) { event.preventDefault(); field.focus(); }
    }
  });
})();
