// Shows the pairs of STUDY one by one, keeps the answers in this browser and saves them as a file.

const byId = (id) => document.getElementById(id);
const PLACE = `oasis-vq reader study ${STUDY.study}`;
const NEW = () => ({ reader: "", experience: "", at: 0, answers: {} });
let state = NEW();
let shownSince = 0;
let screen = "start";

// ------------------------------------------------------------ keeping

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE));
    if (kept && kept.reader && kept.answers) state = kept;
  } catch {
    byId("error").textContent =
      "This browser keeps no answers: do not close or reload the page before you have saved them.";
    byId("error").hidden = false;
  }
}

function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state));
  } catch { /* said by load() */ }
}

// ------------------------------------------------------------ screens

function show(name, focus) {
  screen = name;
  for (const id of ["start", "trial", "end"]) byId(id).hidden = id !== name;
  window.scrollTo(0, 0);
  byId(focus).focus();
}

function showTrial() {
  const trial = STUDY.trials[state.at];
  if (!trial) return showEnd();
  const before = state.answers[trial.trial];
  for (const side of ["left", "right"]) {
    byId(`${side}-image`).src = trial[side];
    byId(side).setAttribute("aria-pressed", String(before?.choice === side));
  }
  byId("where").textContent = `Pair ${state.at + 1} of ${STUDY.trials.length}`;
  byId("who").textContent = `Reader: ${state.reader} · `;
  byId("progress").value = Object.keys(state.answers).length;
  byId("back").disabled = state.at === 0;
  byId("chosen").textContent = before ? `Your answer so far: ${before.choice}` : "";
  show("trial", "question");
  shownSince = performance.now();
}

function showEnd() {
  byId("saved").textContent = "";
  byId("who").textContent = `Reader: ${state.reader} · `;
  show("end", "save");
}

// ------------------------------------------------------------ answers

function addTime(trial, choice) {
  const before = state.answers[trial.trial];
  const spent = Math.round(performance.now() - shownSince) + (before?.milliseconds ?? 0);
  state.answers[trial.trial] = { choice, milliseconds: spent };
}

function answer(side) {
  addTime(STUDY.trials[state.at], side);
  state.at += 1;
  keep();
  showTrial();
}

function back() {
  if (state.at === 0) return;
  state.at -= 1;
  keep();
  showTrial();
}

function answersFile() {
  return {
    schema: "oasis_utils.reader_answers",
    version: 1,
    study: STUDY.study,
    reader: state.reader,
    experience: state.experience,
    answers: STUDY.trials.map(({ trial }) => ({ trial, ...state.answers[trial] })),
  };
}

function save() {
  const text = JSON.stringify(answersFile(), null, 2) + "\n";
  const link = document.createElement("a");
  const name = state.reader.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "reader";
  link.download = `answers_${name}.json`;
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  byId("saved").textContent = `Saved as ${link.download}, in the folder of downloads.`;
}

function another() {
  const sure = "Remove these answers from this browser, so that another reader can begin? " +
    "Save them first.";
  if (!window.confirm(sure)) return;
  state = NEW();
  keep();
  byId("about").reset();
  byId("who").textContent = "";
  show("start", "reader");
}

// ------------------------------------------------------------ controls

byId("about").addEventListener("submit", (event) => {
  event.preventDefault();
  const reader = byId("reader").value.trim();
  if (!reader) {
    byId("reader").value = "";
    byId("reader").reportValidity();
    return;
  }
  state.reader = reader;
  state.experience = byId("experience").value.trim();
  keep();
  showTrial();
});

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const onButton = document.activeElement?.tagName === "BUTTON"; // Enter presses it anyway
  const actions = {
    trial: { ArrowLeft: () => answer("left"), ArrowRight: () => answer("right"), Backspace: back },
    end: { Backspace: back, ...(onButton ? {} : { Enter: save }) },
  };
  const action = actions[screen]?.[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

byId("left").addEventListener("click", () => answer("left"));
byId("right").addEventListener("click", () => answer("right"));
byId("back").addEventListener("click", back);
byId("last").addEventListener("click", back);
byId("save").addEventListener("click", save);
byId("another").addEventListener("click", another);

load();
if (state.reader) showTrial();
else show("start", "reader");
