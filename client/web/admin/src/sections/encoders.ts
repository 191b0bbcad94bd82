/** The encoders of a gallery: the choice for each runtime, and each one with the report of its admission. */

import { ProblemError } from "@askew/client";

import { make, makeFacts } from "../../../common/dom.js";
import { formatCount, formatMegabytes } from "../../../common/format.js";
import { type AdmissionReport, type Encoder, type Gallery, type Runtime, RUNTIMES } from "../api/index.js";
import type { Context } from "../context.js";
import { makeAction, makeBadge, makeField, makeForm, makeHint, makeInput, makePanel, makeSelect } from "../parts/controls.js";
import { confirmed } from "../parts/dialogs.js";
import { formatTime } from "../numbers.js";
import { COMMON, ENCODERS } from "../strings.js";
import { makeReport } from "./report.js";

type Choices = readonly (readonly [Runtime, Encoder | undefined])[];

export async function showEncoders(into: HTMLElement, context: Context, gallery: Gallery): Promise<void> {
  const { api, signal } = context;
  const [all, choices] = await Promise.all([
    api.encoders.list(signal),
    Promise.all(RUNTIMES.map(async (runtime) => [runtime, await api.encoders.best(gallery.name, runtime, signal)] as const)),
  ]);
  const here = all.filter(({ galleries }) => galleries.includes(gallery.name)).map((each) => ownReport(each, choices));
  into.append(makeChoices(context, gallery, here, choices));
  for (const encoder of here) into.append(makeEncoder(context, gallery, encoder));
  into.append(makeAdmission(context, gallery));
}

/** The list has one report for each encoder, of one of its galleries; the choice for a runtime has this gallery's own. */
function ownReport(encoder: Encoder, choices: Choices): Encoder {
  return choices.find(([, chosen]) => chosen?.id === encoder.id)?.[1] ?? encoder;
}

function makeChoices(context: Context, gallery: Gallery, encoders: readonly Encoder[], choices: Choices): HTMLElement {
  const fields = choices.map(([runtime, chosen]) => {
    const isSet = chosen?.default_for.includes(runtime) ?? false;
    const select = makeSelect(
      [...(isSet ? [] : [["", ENCODERS.automatic(chosen?.id ?? COMMON.none)] as const]), ...encoders.map(({ id }) => [id, id] as const)],
      isSet ? chosen?.id : "",
    );
    select.dataset["runtime"] = runtime;
    select.addEventListener("change", () => {
      void context.notices.guard(async () => {
        try {
          await context.api.encoders.setDefault(gallery.name, select.value, runtime);
          context.notices.say(ENCODERS.defaultSet(select.value, runtime));
        } finally {
          context.refresh();
        }
      });
    });
    return makeField(ENCODERS.runtimes[runtime], select);
  });
  return makePanel(ENCODERS.choices, makeHint(ENCODERS.choicesHint), make("div", "fields", ...fields));
}

function makeEncoder(context: Context, gallery: Gallery, encoder: Encoder): HTMLElement {
  const heading = make("h2", "", encoder.id, " ", makeBadge(ENCODERS.roles[encoder.role]));
  for (const runtime of encoder.default_for) heading.append(" ", makeBadge(ENCODERS.defaultFor(runtime), "good"));
  const facts = make("dl", "facts");
  facts.append(
    ...makeFacts([
      [ENCODERS.admitted, formatTime(encoder.admitted_at)],
      [ENCODERS.size, formatMegabytes(encoder.size)],
      [ENCODERS.photoSize, `${encoder.photo_size} px`],
      [ENCODERS.precision, encoder.precision],
      [ENCODERS.dimension, formatCount(encoder.dim)],
      [ENCODERS.sha256, encoder.sha256],
    ]),
  );
  const panel = make("section", "panel encoder", heading);
  panel.dataset["encoder"] = encoder.id;
  if (encoder.report) panel.append(makeReport(encoder.report, gallery.name));
  else panel.append(makeHint(encoder.role === "teacher" ? ENCODERS.teacherHint : ENCODERS.noReport));
  panel.append(make("details", "", make("summary", "", ENCODERS.file), facts));
  if (encoder.role === "student") {
    const retire = makeAction(
      ENCODERS.retire,
      context.notices,
      async () => {
        const question = { title: ENCODERS.retireTitle(encoder.id), text: ENCODERS.retireText, action: ENCODERS.retire };
        if (!(await confirmed(question))) return;
        await context.api.encoders.retire(gallery.name, encoder.id);
        context.notices.say(ENCODERS.retired(encoder.id));
        context.refresh();
      },
      "danger",
    );
    panel.append(make("div", "row", retire));
  }
  return panel;
}

function makeAdmission(context: Context, gallery: Gallery): HTMLElement {
  const file = makeInput("file", { required: "", accept: ".onnx" });
  file.id = "admit-file";
  const progress = make("p", "hint");
  progress.setAttribute("role", "status");
  const outcome = make("div");
  const form = makeForm(
    context.notices,
    ENCODERS.admit,
    async () => {
      const chosen = file.files?.[0];
      if (!chosen) return;
      outcome.replaceChildren();
      try {
        const admitted = await context.api.encoders.admit(gallery.name, chosen, (sent, total) => {
          const text = COMMON.sent(formatMegabytes(sent), formatMegabytes(total));
          progress.textContent = sent < total ? text : ENCODERS.examining;
        });
        context.notices.say(ENCODERS.isAdmitted(admitted.id));
        context.refresh();
      } catch (error) {
        const report = error instanceof ProblemError ? error.members["report"] : undefined;
        if (report) outcome.replaceChildren(makeReport(report as AdmissionReport, gallery.name));
        throw error;
      } finally {
        progress.textContent = "";
      }
    },
    makeField(ENCODERS.admitFile, file, ENCODERS.admitHint),
    progress,
  );
  return makePanel(ENCODERS.admit, form, outcome);
}
