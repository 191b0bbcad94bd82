/**
 * Starts the app. Its address may have a path prefix: all addresses are relative to it.
 *
 * What tests may hold on to:
 * - <body data-state>: loading, ready, searching, found, nothing, waiting, failed; <body data-stage>: welcome, camera, photo;
 *   <body data-network>: online, offline
 * - #network, #network-badge, #network-text, #try-connection; #new-version, #take-over
 * - #offline-card, #offline-settings [data-offline]: none, offered, fetching, paused, interrupted, kept, failed; in them
 *   [data-action]: keep, pause, dismiss, delete
 * - #open-earlier [data-waiting], #earlier (dialog): #earlier-list [data-state] with [data-action]: show, delete;
 *   #delete-earlier, #earlier-close
 * - #installation [data-installation]: insecure, installing, installed, failed
 * - #gallery (select), #open-settings
 * - #photo-input, #capture-input (files); #choose-photo, #open-camera, #shoot, #torch, #close-camera
 * - #viewfinder (video), #photo (image), #crop-layer, #crop, #crop [data-corner], #start-crop, #whole-photo
 * - #privacy [data-photo]: stays, sent, refused; #insecure
 * - #loading, #progress, #progress-text; #status (live region), #searching
 * - #notice [data-kind, data-tone]: kind of the failure; #notice-title, #notice-detail, #notice-reason, #notice-close
 * - #retry, #send-photo (buttons in #notice-actions)
 * - #key-form, #key-input, #key-submit
 * - #figures [data-bytes-sent, data-encoder, data-described-by, data-searched-by]: device, server; #figures-costs, #figures-encoder
 * - #results-section [data-busy], #results-heading, #results-status, #results [data-id], [data-score]
 * - #back, #show-nearest, #show-more
 * - #details [data-id] (dialog): #details-title, #details-photo, #details-facts, #details-fields, #more-like-this,
 *   #details-close
 * - #settings (dialog): #threshold (strict, careful, normal, off), #threshold-hint, #gallery-facts, #encoder-facts,
 *   #encoder-none, #key-state, #forget-key, #settings-close
 */

import "./style.css";

import { App } from "./app.js";
import { fillTexts } from "./dom.js";

fillTexts();
const app = new App(new URL(".", document.baseURI));
// After the page has fetched the app's files, the worker finds them in the browser's own cache.
void app.start().finally(() => app.install());
