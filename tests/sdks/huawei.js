// @huaweicloud/huaweicloud-sdk-core, signed with an access key: a server or a disk by CBR v3, a disk by VBS v2, a
// server by CSBS v1. npm has the core of this SDK and packages for some services, none for these three; its users bring the
// paths. Arguments, lines and exit codes are those of steps.py, with --source-api besides.

'use strict';

const { parseArgs } = require('node:util');
const { BasicCredentials } = require('@huaweicloud/huaweicloud-sdk-core');
const { ClientBuilder } = require('@huaweicloud/huaweicloud-sdk-core/ClientBuilder');
const { SdkException } = require('@huaweicloud/huaweicloud-sdk-core/exception/SdkException');

const PROVIDER = 'fc4d5750-22e7-4798-8a46-f48f62c4c1da';
const text = { type: 'string' };
const { values: args, positionals: [action] } = parseArgs({
  allowPositionals: true,
  options: {
    'base-url': text, 'source-api': { type: 'string', default: 'cbr-v3' }, project: text, backup: text, checkpoint: text,
    server: text, mapping: { type: 'string', multiple: true, default: [] }, volume: text,
    every: { type: 'string', default: '0.2' }, patience: { type: 'string', default: '60' },
  },
});
const mappings = args.mapping.map((pair) => {
  const [backup_id, volume_id] = pair.split('=');
  return { backup_id, volume_id };
});

const say = (step, facts) => console.log(JSON.stringify({ step, ...facts }));

const key = new BasicCredentials()
  .withAk(process.env.HUAWEICLOUD_SDK_AK)
  .withSk(process.env.HUAWEICLOUD_SDK_SK)
  .withProjectId(args.project);
const client = new ClientBuilder((hcClient) => hcClient)
  .withEndpoint(args['base-url'])
  .withCredential(key)
  .build();

function call(method, url, { path = {}, query = {}, data } = {}) {
  return client.sendRequest({
    method, url, contentType: 'application/json', queryParams: query, headers: {},
    pathParams: { project_id: args.project, ...path }, ...(data === undefined ? {} : { data }),
  });
}

class NotInTime extends Error {}

async function follow(step, look, running) {
  const end = Date.now() + Number(args.patience) * 1000;
  let last;
  for (;;) {
    const seen = await look();
    if (seen && seen.status !== last) {
      last = seen.status;
      say(step, seen);
    }
    if (seen && !running.includes(last)) return last;
    if (Date.now() > end) throw new NotInTime(`${step}: ${last}`);
    await new Promise((later) => setTimeout(later, Number(args.every) * 1000));
  }
}

const cbr = {
  submit() {
    const restore = args.server
      ? { mappings, power_on: true, server_id: args.server }
      : { volume_id: args.volume };
    return call('POST', '/v3/{project_id}/backups/{backup_id}/restore',
      { path: { backup_id: args.backup }, data: { restore } });
  },
  async restore() {
    const { backup } = await call('GET', '/v3/{project_id}/backups/{backup_id}', { path: { backup_id: args.backup } });
    say('backup', { status: backup.status, id: backup.id, resource_type: backup.resource_type });
    const query = { operation_type: 'restore', limit: 100, offset: 0 };
    const logs = async () => (await call('GET', '/v3/{project_id}/operation-logs', { query })).operation_logs;
    const before = (await logs()).map((log) => log.id);
    const accepted = await this.submit();
    say('restore', { status: accepted.httpStatusCode });
    let id;
    const look = async () => {
      const log = (await logs()).find((one) => !before.includes(one.id)
        && one.extra_info.restore && one.extra_info.restore.backup_id === args.backup);
      if (!log) return undefined;
      id = log.id;
      return { status: log.status, id, progress: log.extra_info.common.progress };
    };
    const last = await follow('log', look, ['waiting', 'running']);
    const { operation_log: log } = await call('GET', '/v3/{project_id}/operation-logs/{id}', { path: { id } });
    say('one-log', { status: log.status, id, error: log.error_info.code, ended_at: log.ended_at });
    return last === 'success' && log.status === 'success';
  },
};

const vbs = {
  submit() {
    return call('POST', '/v2/{project_id}/cloudbackups/{backup_id}/restore',
      { path: { backup_id: args.backup }, data: { restore: { volume_id: args.volume } } });
  },
  async restore() {
    const { job_id: id } = await this.submit();
    say('restore', { status: 'accepted', id });
    const look = async () => {
      const job = await call('GET', '/v1/{project_id}/jobs/{id}', { path: { id } });
      return { status: job.status, id: job.job_id, error: job.error_code };
    };
    return await follow('job', look, ['INIT', 'RUNNING']) === 'SUCCESS';
  },
};

const csbs = {
  submit() {
    const parameters = {
      checkpoint_item_id: args.backup, power_on: true, targets: { server_id: args.server, volumes: mappings },
    };
    return call('POST', '/v1/{project_id}/restores',
      { data: { restore: { provider_id: PROVIDER, checkpoint_id: args.checkpoint, parameters } } });
  },
  async item() {
    const path = { id: args.backup };
    return (await call('GET', '/v1/{project_id}/checkpoint_items/{id}', { path })).checkpoint_item;
  },
  async restore() {
    const found = await this.item();
    say('item', { status: found.status, id: found.id });
    const { restore } = await this.submit();
    say('restore', { status: restore.status, id: restore.id });
    let begun = false;
    const look = async () => {
      const seen = await this.item();
      begun ||= seen.status !== 'available' || seen.updated_at !== found.updated_at;
      return { status: begun ? seen.status : 'not begun', id: seen.id, fail_op: seen.extend_info.fail_op };
    };
    const last = await follow('item', look, ['not begun', 'waiting_restore', 'restoring']);
    return last === 'available' && (await this.item()).extend_info.fail_op !== 'restore';
  },
};

async function main() {
  const api = { 'cbr-v3': cbr, 'vbs-v2': vbs, 'csbs-v1': csbs }[args['source-api']];
  try {
    if (action === 'refused') {
      await api.submit();
      say('accepted', {});
      return 1;
    }
    const well = await api.restore();
    say('end', { status: well ? 'well' : 'not well' });
    return well ? 0 : 1;
  } catch (error) {
    const own = error instanceof SdkException;
    say('error', {
      class: error.constructor.name, crash: !own && !(error instanceof NotInTime),
      message: error.errorMsg || error.message, code: error.errorCode, http_status: error.httpStatusCode, request_id: error.requestId,
    });
    if (error instanceof NotInTime) return 4;
    return own ? Number(action !== 'refused') : 3;
  }
}

main().then((code) => { process.exitCode = code; });
