// What the owner of a host may say within policy: which window, how much later, and asking for a waiver.
export { checkOffered, deferralUntil } from './choice.ts';
export { choiceOf, choiceTold, rememberChoice, rememberRequest, requestsOf } from './memory.ts';
export { type RequestState, requestBody, requestStates } from './requests.ts';
