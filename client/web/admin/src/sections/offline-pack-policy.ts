/** The form that says what of a gallery may leave in its offline pack. */

import { make } from "../../../common/dom.js";
import type { OfflinePackPolicy } from "../api/index.js";
import { makeField, makeForm, makeHint, makeInput, makeSelect } from "../parts/controls.js";
import type { Notices } from "../parts/notices.js";
import { PACK } from "../strings.js";

const THUMBNAILS = [0, 96, 160, 256] as const;
const REFRESH_MINUTES = 60;
const YEAR_MINUTES = 525_600;
const MAX_FIELDS = 32;
/** As the server takes them: no control characters, at most 100 characters. */
const FIELD = /^[^\u0000-\u001f\u007f]{1,100}$/u;

/** `known`: fields that items have. `policy`: the one that holds, whose other fields are offered, too. */
export function makePolicyForm(
  notices: Notices,
  known: ReadonlySet<string>,
  policy: OfflinePackPolicy | undefined,
  allow: (policy: OfflinePackPolicy) => Promise<void>,
): HTMLElement {
  const chosen = policy?.fields ?? [];
  const fields = [...chosen, ...[...known].filter((each) => !chosen.includes(each)).sort()];
  const offered = fields.filter((each) => FIELD.test(each));
  const boxes = make("fieldset", "field", make("legend", "", PACK.fieldsLegend));
  boxes.id = "pack-fields";
  const grid = make("div", "checks");
  boxes.append(grid);
  const checks = offered.map((field) => {
    const check = makeInput("checkbox");
    check.value = field;
    check.checked = chosen.includes(field);
    const name = make("span", "", field);
    name.dir = "auto";
    grid.append(make("label", "check", check, name));
    return check;
  });
  if (offered.length === 0) boxes.append(makeHint(PACK.noFields));
  if (offered.length < fields.length) boxes.append(makeHint(PACK.leftOut(fields.length - offered.length)));
  const other = makeInput("text", { autocapitalize: "off", maxlength: "100" });
  other.id = "pack-other";
  const sizes = [...new Set([...THUMBNAILS, policy?.thumbnails ?? 0])].sort((one, another) => one - another);
  const thumbnails = makeSelect(sizes.map((each) => [String(each), PACK.thumbnailsOf(each)]), String(policy?.thumbnails ?? 0));
  thumbnails.id = "pack-thumbnails";
  const minutes = makeInput("number", { min: "0", max: String(YEAR_MINUTES), step: "1", required: "" });
  minutes.id = "pack-minutes";
  minutes.value = String(policy?.refresh_minutes ?? REFRESH_MINUTES);
  const form = makeForm(
    notices,
    PACK.allow,
    () => {
      const ticked = checks.filter(({ checked }) => checked).map(({ value }) => value);
      const named = [...new Set([...ticked, ...(other.value ? [other.value] : [])])];
      if (named.length > MAX_FIELDS) throw new Error(PACK.tooManyFields(MAX_FIELDS, named.length));
      return allow({
        fields: named,
        thumbnails: Number(thumbnails.value),
        // Set by the command or over HTTP; this form leaves it as it is.
        bytes: policy?.bytes ?? null,
        refresh_minutes: Number(minutes.value),
      });
    },
    boxes,
    makeField(PACK.otherField, other, PACK.otherFieldHint),
    make("div", "fields", makeField(PACK.thumbnails, thumbnails, PACK.thumbnailsHint), makeField(PACK.refresh, minutes, PACK.refreshHint)),
    makeHint(PACK.fewer),
  );
  form.id = "pack-form";
  return form;
}
