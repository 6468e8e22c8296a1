// The agent as a whole: opened from settings, one cycle, the service that repeats it, and its unit.
export { type Agent, awaitsOtherRoot, diskTrouble, fault, inventoryOf, openAgent, openAgentTrust } from './agent.ts';
export { controlsOf } from './controls.ts';
export { lastCycle, runCycle } from './cycle.ts';
export { passGate } from './gate.ts';
export { type Owned, ownedHost, sealNow } from './owner.ts';
export { openRelayOrigins } from './reach.ts';
export { rollbackLast } from './rollback.ts';
export { type AgentSettings, loadSettings, placesOf } from './settings.ts';
export { factsOfWaiting } from './situation.ts';
export { installUnit, removeUnit, unitState } from './systemd.ts';
export { keepRunning } from './ticker.ts';
export { UNIT_NAME, unitText } from './unit.ts';
export { giveUpdatersBack, takenOver } from './updaters.ts';
export { type Waiting, waitingFor } from './waiting.ts';
export { decideInput, makeWorld, whoIs } from './world.ts';
