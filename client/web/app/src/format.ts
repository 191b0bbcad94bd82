/** Numbers for people. */

export * from "../../shared/format.js";
