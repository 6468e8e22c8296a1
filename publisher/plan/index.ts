// Plans: a fleet simulated over days by the functions that hosts decide with. The command is ../cli/plan.ts.
export * from './fleet.ts';
export * from './page.ts';
export * from './report.ts';
