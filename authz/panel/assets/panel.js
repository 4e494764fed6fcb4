// What pages do better with JavaScript. Each works without it.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A single key reaches what names it, unless somebody types or has switched that off:
// / the search, c a new key, j and k the rows, ? the list of these.
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, [contenteditable]')) return;
  if (document.documentElement.dataset.shortcuts === 'off') return;
  if (event.key === 'j' || event.key === 'k') {
    const rows = all('tbody th a');
    const at = rows.indexOf(document.activeElement);
    rows[event.key === 'j' ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0)]?.focus();
    return;
  }
  const target = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  target.focus();
});

// What cannot be done without a script is there only now, and what replaces it is not.
for (const e of all('[hidden]:is([data-copy], [data-download], .filter, .stored)')) e.hidden = false;
for (const e of all('[data-plain]')) e.hidden = true;

// A session that is about to end says so, and goes on when somebody is there.
for (const warning of all('[data-ending]')) {
  const wait = () => setTimeout(() => { warning.hidden = false; warning.querySelector('p').textContent = warning.dataset.text; }, Number(warning.dataset.ending));
  warning.querySelector('button').addEventListener('click', async () => {
    try {
      const answer = await fetch(warning.dataset.stay, {method: 'POST'});
      if (!answer.ok) return location.reload();
      warning.hidden = true;
      wait();
    } catch { /* the banner below says why */ }
  });
  wait();
}

// Without a network nothing goes, and that is not the fault of the keys.
const offline = document.querySelector('.offline');
const reachable = () => { offline.textContent = navigator.onLine ? '' : offline.dataset.text; };
addEventListener('online', reachable);
addEventListener('offline', reachable);
reachable();

// Who has to wait sees for how long.
for (const text of all('[data-countdown]')) {
  let left = Number(text.dataset.countdown);
  const tick = setInterval(() => {
    left -= 1;
    if (left > 0) text.textContent = text.textContent.replace(/\d+/, left);
    else { text.hidden = true; clearInterval(tick); }
  }, 1000);
}

// A summary of problems gets the focus.
document.querySelector('[role=alert][tabindex]')?.focus();

// filled is a text with values in its places, {0} and so on.
const filled = (text, ...values) => values.reduce((text, value, i) => text.replace(`{${i}}`, () => value), text);

// How much of a field is used.
for (const count of all('[data-counts]')) {
  const field = document.getElementById(count.dataset.counts);
  const show = () => { count.textContent = `${[...field.value].length}/${field.maxLength}`; };
  count.hidden = false;
  field.addEventListener('input', show);
  show();
}

// A search over what is on the page.
for (const field of all('[data-filter]')) {
  field.addEventListener('input', () => {
    const wanted = field.value.trim().toLowerCase();
    let found = 0;
    for (const e of all(field.dataset.filter)) found += !(e.hidden = !e.textContent.toLowerCase().includes(wanted));
    const says = document.getElementById(field.dataset.found);
    if (says) says.textContent = wanted ? filled(says.dataset.text, found) : '';
  });
}

// The review of a form says what the key can do as it is chosen.
for (const form of all('form[data-review]')) {
  const [can, cannot] = [form.querySelector('.can'), form.querySelector('.cannot')];
  const items = all('[data-scope]', form);
  const review = () => {
    const chosen = new Set([...new FormData(form)].filter(([name]) => name.startsWith('scope.')).flatMap(([, value]) => value.split(' ')));
    for (const item of items) (chosen.has(item.dataset.scope) ? can : cannot).append(item);
    form.querySelector('.nothing').hidden = can.children.length > 0;
    const only = form.querySelector('[data-only-chosen]');
    for (const group of all('fieldset.group', form)) group.classList.toggle('left-out', only.checked && !all('input:checked', group).some((choice) => choice.value));
    for (const e of all('[data-chosen]', form)) e.textContent = filled(e.dataset.text, can.children.length);
    for (const e of all('[data-group]', form)) {
      const scopes = new Set(all(`[name="${e.dataset.group}"]`, form).flatMap((choice) => choice.value.split(' ')).filter(Boolean));
      e.textContent = `${[...scopes].filter((scope) => chosen.has(scope)).length}/${scopes.size}`;
    }
    for (const e of all('[data-preset]')) {
      const preset = new Set(e.dataset.preset.split(' '));
      e.textContent = filled(e.dataset.text, e.dataset.name, [...chosen].filter((scope) => scope && !preset.has(scope)).length, [...preset].filter((scope) => !chosen.has(scope)).length);
    }
    const writes = can.querySelector('[data-writes]') !== null;
    for (const e of all('[data-if-writes]', form)) e.hidden = !writes;
    for (const e of all('[data-unless-writes]', form)) e.hidden = writes;
  };
  form.addEventListener('change', review);
  review();
}

// A date belongs to its choice, and goes with it.
for (const date of all('[name=date]')) {
  const choice = date.form.querySelector('[type=radio][value=date]');
  date.addEventListener('input', () => { if (date.value) choice.checked = true; });
  date.form.addEventListener('change', (event) => { if (event.target.type === 'radio' && event.target.name === choice.name && event.target !== choice) date.value = ''; });
}

// A form that changes something is sent once: the first answer would be lost.
for (const form of all('form[method=post]')) {
  let sent = false;
  form.addEventListener('submit', (event) => { if (sent) event.preventDefault(); sent = true; });
  addEventListener('pageshow', () => { sent = false; });
}

// A link to a page that asks opens the dialog that asks the same, where the page has it.
for (const link of all('[data-dialog]')) {
  const dialog = document.getElementById(link.dataset.dialog);
  link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    dialog.showModal();
  });
  for (const close of all('[data-close]', dialog)) close.addEventListener('click', (event) => { event.preventDefault(); dialog.close(); });
}

// The actions of a row close when somebody turns to something else.
addEventListener('keydown', (event) => {
  const menu = event.key === 'Escape' && document.querySelector('.menu details[open]');
  if (!menu) return;
  menu.open = false;
  menu.querySelector('summary').focus();
});
addEventListener('click', (event) => {
  for (const menu of all('.menu details[open]')) if (!menu.contains(event.target)) menu.open = false;
});

// While a revocation waits for its verifiers, the page that asked shows them.
for (const form of all('[data-reach]')) {
  form.addEventListener('submit', () => {
    const reach = form.parentElement.querySelector('.reach');
    const list = reach.querySelector('ul');
    reach.querySelector('h2').textContent = reach.dataset.text;
    const ask = async () => {
      try {
        const answer = await fetch(form.dataset.reach, {headers: {Accept: 'application/json'}});
        if (answer.ok) {
          list.replaceChildren(...(await answer.json()).map((verifier) => {
            const [item, name] = [document.createElement('li'), document.createElement('bdi')];
            item.className = verifier.confirmed ? 'can' : 'warn';
            name.textContent = verifier.name;
            item.append(name, ' · ', verifier.text);
            return item;
          }));
        }
      } catch { /* the answer to the form says it all the same */ }
      setTimeout(ask, 300);
    };
    ask();
  });
}

// Copying, of what a button names. Where a text has the mask, the secret of the page goes.
const mask = '•'.repeat(16);
const said = document.querySelector('.said');
const text = (id) => document.getElementById(id).textContent.replaceAll(mask, document.querySelector('#client-secret')?.textContent ?? mask);
const say = (what) => {
  said.textContent = what;
  setTimeout(() => { if (said.textContent === what) said.textContent = ''; }, 4000);
};
for (const button of all('[data-copy]')) {
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text(button.dataset.copy));
      say(said.dataset.copied);
    } catch {
      const shown = document.getElementById(button.dataset.copy);
      shown.textContent = text(button.dataset.copy);
      if (shown.closest('details')) shown.closest('details').open = true;
      getSelection().selectAllChildren(shown);
      say(said.dataset.refused);
    }
  });
}

// The page with a secret: downloading, forgetting, and the first token.
for (const page of all('[data-once]')) {
  const secret = page.querySelector('#client-secret');
  const stored = page.querySelector('.stored input');
  const done = page.querySelector('.done');
  let forgotten = false;

  for (const button of all('[data-download]', page)) {
    button.addEventListener('click', () => {
      const link = Object.assign(document.createElement('a'), {
        href: URL.createObjectURL(new Blob([text(button.dataset.download)], {type: 'text/plain'})), download: button.dataset.file});
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
  const forget = () => {
    forgotten = true;
    secret.textContent = '';
    for (const e of all('.reveal, [data-copy="client-secret"], [data-copy^="format-"], [data-download], .stored', page)) e.hidden = true;
    for (const e of all('pre', page)) e.textContent = '';
    document.querySelector('[data-first-use]')?.closest('section').remove();
    page.querySelector('.blanked').hidden = false;
    done.removeAttribute('aria-disabled');
  };
  setTimeout(forget, Number(page.dataset.blankAfter));
  addEventListener('pagehide', forget);
  addEventListener('beforeunload', (event) => { if (!stored.checked && !forgotten) event.preventDefault(); });
  done.setAttribute('aria-disabled', 'true');
  stored.addEventListener('change', () => {
    if (stored.checked) done.removeAttribute('aria-disabled');
    else done.setAttribute('aria-disabled', 'true');
  });
  done.addEventListener('click', (event) => { if (!stored.checked && !forgotten) { event.preventDefault(); stored.focus(); } });

  const first = document.querySelector('[data-first-use]');
  const ask = async () => {
    if (forgotten) return;
    try {
      const answer = await fetch(first.dataset.firstUse, {headers: {Accept: 'application/json'}});
      if (answer.ok) {
        const use = await answer.json();
        if (first.textContent !== use.text) first.textContent = use.text;
        if (use.state === 'issued') return;
      }
    } catch { /* offline; the next time */ }
    setTimeout(ask, 2000);
  };
  if (first) ask();
}

// A token is decoded here; it leaves the page only to be verified.
for (const form of all('[data-decode]')) {
  const [field, decoded, looks, clock] = ['textarea', '.decoded', '.looks', '.clock'].map((selector) => form.querySelector(selector));
  const ahead = Date.now() / 1000 - Number(form.dataset.now);
  if (Math.abs(ahead) > 60) {
    clock.textContent = filled(ahead > 0 ? clock.dataset.ahead : clock.dataset.behind, Math.round(Math.abs(ahead) / 60));
    clock.hidden = false;
  }
  field.addEventListener('input', () => {
    looks.textContent = '';
    try {
      const parts = field.value.trim().split('.').slice(0, 2).map((part) => {
        const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
        return JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2);
      });
      decoded.textContent = parts.length === 2 ? parts.join('\n') : '';
      const {exp} = JSON.parse(parts[1]);
      if (Number.isFinite(exp)) {
        const left = exp - (Date.now() / 1000 - ahead);
        looks.textContent = filled(left > 0 ? looks.dataset.good : looks.dataset.expired, Math.ceil(Math.abs(left) / 60));
      }
    } catch {
      decoded.textContent = '';
    }
    decoded.hidden = decoded.textContent === '';
  });
}
