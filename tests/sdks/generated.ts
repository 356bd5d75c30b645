// A client of the types that openapi-typescript generated of the contract, with openapi-fetch: submit, repeat, wait, list,
// history, cancel. The compiler checks it against the types before it runs. Lines are those of steps.py.

import createClient from 'openapi-fetch';
import type { components, paths } from './contract';

type Restore = components['schemas']['Restore'];
type RestoreRequest = components['schemas']['RestoreRequest'];

declare const process: { argv: string[] };
const [action, gateway, token, project, backup, volume] = process.argv.slice(2) as [string, string, string, string, string, string];
const client = createClient<paths>({ baseUrl: gateway, headers: { 'X-Auth-Token': token } });
const say = (step: string, facts: object) => console.log(JSON.stringify({ step, ...facts }));

const body: RestoreRequest = {
  project_id: project, source: { backup_id: backup }, target: { type: 'volume', volume_id: volume },
};

async function submit(key: string): Promise<Restore> {
  const { data, error } = await client.POST('/api/v1/restores', { params: { header: { 'Idempotency-Key': key } }, body });
  if (error) throw new Error(`${error.code}: ${error.detail}`);
  return data;
}

async function cancel() {
  const waiting = await submit('typed-2');
  const cancelled = await client.DELETE('/api/v1/restores/{id}', { params: { path: { id: waiting.id } } });
  say('cancel', { status: cancelled.data?.status });
}

async function restore() {
  const first = await submit('typed-1');
  say('submit', { id: first.id, replayed: first.replayed });
  const again = await submit('typed-1');
  say('repeat', { same: again.id === first.id, replayed: again.replayed });

  const path = { id: first.id };
  const ended = await client.GET('/api/v1/restores/{id}', { params: { path, header: { Prefer: 'wait=50' } } });
  const target = ended.data?.target;
  // Narrowed by its discriminator.
  say('wait', { status: ended.data?.status, volume: target?.type === 'volume' ? target.volume_id : undefined });

  const page = await client.GET('/api/v1/restores', { params: { query: { project_id: project, limit: 5 } } });
  say('list', { ids: page.data?.restores.map((restore) => restore.id) });
  const events = await client.GET('/api/v1/restores/{id}/events', { params: { path } });
  say('events', { names: events.data?.events.map((event) => event.event) });

  const late = await client.DELETE('/api/v1/restores/{id}', { params: { path } });
  say('cancel-late', { code: late.error?.code, effect: late.error?.effect });
}

void (action === 'cancel' ? cancel() : restore());
