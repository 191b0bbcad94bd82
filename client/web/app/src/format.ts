/** Numbers for people. */

export * from "../../common/format.js";
