import * as ssm from '@aws-sdk/client-ssm';
import type { CommandDocument } from './command-document.ts';
import { checkInstanceIds, checkRange, readOrder } from './command-order.ts';
import { modelledFault } from './fault.ts';
import type { FaultSource } from './fault-rules.ts';
import type { SimulatedInstance } from './instance.ts';
import { deliverCommand, type Invocation } from './run-command.ts';
import { ACCOUNT_ID, type Checked, errorSchemas, type Service, serve } from './service.ts';
import type { Timing } from './timing.ts';

/** What the SSM service knows and shares with the simulator. */
export type SsmState = {
  readonly region: string;
  readonly timing: Timing;
  readonly faults: FaultSource;
  readonly signal: AbortSignal;
  readonly instances: Map<string, SimulatedInstance>;
  readonly invocations: Map<string, Invocation>;
  readonly documents: Map<string, CommandDocument>;
  readonly parameters: Map<string, { value: string; type: ssm.ParameterType; at: Date }>;
};

const PLUGIN = 'aws:runShellScript';
/** Where output and notices could go beside the answer, and targets that need tags. */
const UNSERVED_BY_SEND_COMMAND = [
  'AlarmConfiguration',
  'CloudWatchOutputConfig',
  'DocumentHash',
  'NotificationConfig',
  'OutputS3BucketName',
  'Targets',
] as const;
const MAX_LISTED_OUTPUT = 2500;

/** Systems Manager as far as Run Command and Parameter Store go. */
export function ssmService(state: SsmState): Service {
  const schemas = errorSchemas(ssm);
  return {
    name: 'ssm',
    protocol: 'json',
    xmlNamespace: '',
    modelled: (code, message) => {
      const schema = schemas.find((candidate) => candidate[2] === code);
      return schema && modelledFault('json', schema, message);
    },
    operations: new Map([
      serve<ssm.DescribeInstanceInformationRequest, ssm.DescribeInstanceInformationResult>(
        ssm.DescribeInstanceInformation$,
        (input) => describeInstances(state, input),
        ['InstanceInformationFilterList'],
      ),
      serve<ssm.SendCommandRequest, ssm.SendCommandResult>(
        ssm.SendCommand$,
        (input) => sendCommand(state, input),
        UNSERVED_BY_SEND_COMMAND,
      ),
      serve<ssm.GetCommandInvocationRequest, ssm.GetCommandInvocationResult>(
        ssm.GetCommandInvocation$,
        (input) => getInvocation(state, input),
      ),
      serve<ssm.ListCommandInvocationsRequest, ssm.ListCommandInvocationsResult>(
        ssm.ListCommandInvocations$,
        (input) => listInvocations(state, input),
        ['Filters'],
      ),
      serve<ssm.CancelCommandRequest, ssm.CancelCommandResult>(ssm.CancelCommand$, (input) =>
        cancelCommand(state, input),
      ),
      serve<ssm.GetParameterRequest, ssm.GetParameterResult>(ssm.GetParameter$, (input) =>
        getParameter(state, input),
      ),
    ]),
  };
}

/** DescribeInstanceInformation; stopped or unknown instances are simply not in the list. */
function describeInstances(
  state: SsmState,
  input: Checked<ssm.DescribeInstanceInformationRequest>,
): ssm.DescribeInstanceInformationResult {
  checkRange('maxResults', input.MaxResults, { min: 5, max: 50 });
  let selected = [...state.instances.values()];
  for (const filter of input.Filters ?? []) {
    if (filter.Key !== 'InstanceIds' && filter.Key !== 'PingStatus' && filter.Key !== 'PlatformTypes') {
      throw modelledFault('json', ssm.InvalidFilterKey$, '');
    }
    selected = selected.filter((instance) =>
      (filter.Values ?? []).includes(filterValue(instance, filter.Key ?? '')),
    );
  }
  const page = pageOf(selected, input);
  return { ...page.token, InstanceInformationList: page.items.map(information) };
}

/** One page of a list; the token is the position of the next item. */
function pageOf<Item>(
  items: readonly Item[],
  { MaxResults = 50, NextToken }: { MaxResults?: number | undefined; NextToken?: string | undefined },
): { items: Item[]; token: { NextToken?: string } } {
  const start = Number(NextToken ?? 0);
  const end = start + MaxResults;
  return { items: items.slice(start, end), token: end < items.length ? { NextToken: String(end) } : {} };
}

function filterValue(instance: SimulatedInstance, key: string): string {
  if (key === 'PingStatus') return instance.pingStatus;
  return key === 'PlatformTypes' ? instance.platformType : instance.instanceId;
}

function information(instance: SimulatedInstance): ssm.InstanceInformation {
  const isLinux = instance.platformType === 'Linux';
  return {
    InstanceId: instance.instanceId,
    PingStatus: instance.pingStatus,
    LastPingDateTime: new Date(),
    AgentVersion: '3.3.2746.0',
    IsLatestVersion: true,
    PlatformType: instance.platformType,
    PlatformName: isLinux ? 'Amazon Linux' : 'Microsoft Windows Server 2022 Datacenter',
    PlatformVersion: isLinux ? '2023' : '10.0.20348',
    ResourceType: 'EC2Instance',
    IPAddress: instance.ipAddress,
    ComputerName: `ip-${instance.ipAddress.replaceAll('.', '-')}.ec2.internal`,
  };
}

/** SendCommand; the limits that the schemas do not carry are checked by hand. */
function sendCommand(state: SsmState, input: Checked<ssm.SendCommandRequest>): ssm.SendCommandResult {
  const order = readOrder(input, state.documents);
  const instances = (input.InstanceIds ?? []).map((id) => managedInstance(state, id));
  for (const instance of instances) {
    const invocation = deliverCommand({
      order,
      instance,
      fault: state.faults.takeDeliveryFault(instance.instanceId),
      timing: state.timing,
      signal: state.signal,
    });
    state.invocations.set(invocationKey(order.commandId, instance.instanceId), invocation);
  }
  const requestedAt = new Date();
  const totalMs = (order.deliverySeconds + order.executionSeconds) * 1000;
  return {
    Command: {
      CommandId: order.commandId,
      DocumentName: order.documentName,
      DocumentVersion: '$DEFAULT',
      Comment: order.comment,
      ExpiresAfter: new Date(requestedAt.getTime() + totalMs),
      Parameters: order.parameters,
      InstanceIds: instances.map((instance) => instance.instanceId),
      Targets: [],
      RequestedDateTime: requestedAt,
      Status: 'Pending',
      StatusDetails: 'Pending',
      OutputS3BucketName: '',
      OutputS3KeyPrefix: '',
      MaxConcurrency: input.MaxConcurrency ?? '50',
      MaxErrors: input.MaxErrors ?? '0',
      TargetCount: instances.length,
      CompletedCount: 0,
      ErrorCount: 0,
      DeliveryTimedOutCount: 0,
      TimeoutSeconds: order.deliverySeconds,
    },
  };
}

function managedInstance(state: SsmState, instanceId: string): SimulatedInstance {
  const instance = state.instances.get(instanceId);
  if (instance === undefined || instance.pingStatus !== 'Online') {
    throw modelledFault(
      'json',
      ssm.InvalidInstanceId$,
      `Instances [[${instanceId}]] not in a valid state for account ${ACCOUNT_ID}`,
    );
  }
  if (instance.platformType === 'Windows') throw modelledFault('json', ssm.UnsupportedPlatformType$, '');
  return instance;
}

function invocationKey(commandId: string, instanceId: string): string {
  return `${commandId}/${instanceId}`;
}

/** GetCommandInvocation; output only after the end. */
function getInvocation(
  state: SsmState,
  input: Checked<ssm.GetCommandInvocationRequest>,
): ssm.GetCommandInvocationResult {
  checkInstanceIds([input.InstanceId]);
  const invocation = state.invocations.get(invocationKey(input.CommandId, input.InstanceId));
  if (!invocation?.isVisible) throw modelledFault('json', ssm.InvocationDoesNotExist$, '');
  if (input.PluginName !== undefined && input.PluginName !== PLUGIN) {
    throw modelledFault('json', ssm.InvalidPluginName$, '');
  }
  const { startedAt, endedAt } = invocation;
  const elapsedMs = startedAt && endedAt ? endedAt.getTime() - startedAt.getTime() : undefined;
  return {
    CommandId: input.CommandId,
    InstanceId: input.InstanceId,
    Comment: invocation.order.comment,
    DocumentName: invocation.order.documentName,
    DocumentVersion: '$DEFAULT',
    PluginName: PLUGIN,
    ResponseCode: endedAt ? invocation.responseCode : -1,
    ExecutionStartDateTime: startedAt?.toISOString() ?? '',
    ExecutionElapsedTime: elapsedMs === undefined ? '' : `PT${elapsedMs / 1000}S`,
    ExecutionEndDateTime: startedAt && endedAt ? endedAt.toISOString() : '',
    Status: invocation.status,
    StatusDetails: invocation.statusDetails,
    StandardOutputContent: endedAt ? invocation.stdout : '',
    StandardOutputUrl: '',
    StandardErrorContent: endedAt ? invocation.stderr : '',
    StandardErrorUrl: '',
    CloudWatchOutputConfig: { CloudWatchLogGroupName: '', CloudWatchOutputEnabled: false },
  };
}

/** ListCommandInvocations; an unknown or still hidden command is an empty list. */
function listInvocations(
  state: SsmState,
  input: Checked<ssm.ListCommandInvocationsRequest>,
): ssm.ListCommandInvocationsResult {
  checkRange('maxResults', input.MaxResults, { min: 1, max: 50 });
  const found = [...state.invocations.values()].filter(
    (invocation) =>
      invocation.isVisible &&
      (input.CommandId === undefined || invocation.order.commandId === input.CommandId) &&
      (input.InstanceId === undefined || invocation.instance.instanceId === input.InstanceId),
  );
  const page = pageOf(found, input);
  return {
    ...page.token,
    CommandInvocations: page.items.map((invocation) => listed(invocation, input.Details ?? false)),
  };
}

function listed(invocation: Invocation, withDetails: boolean): ssm.CommandInvocation {
  const { order, instance, status, statusDetails, startedAt, endedAt } = invocation;
  const plugin: ssm.CommandPlugin = {
    Name: PLUGIN,
    Status: status === 'Delayed' ? 'Pending' : status === 'Cancelling' ? 'InProgress' : status,
    StatusDetails: statusDetails,
    ResponseCode: endedAt ? invocation.responseCode : -1,
    ...(startedAt ? { ResponseStartDateTime: startedAt } : {}),
    ...(endedAt ? { ResponseFinishDateTime: endedAt } : {}),
    Output: endedAt ? `${invocation.stdout}${invocation.stderr}`.slice(0, MAX_LISTED_OUTPUT) : '',
  };
  return {
    CommandId: order.commandId,
    InstanceId: instance.instanceId,
    InstanceName: '',
    Comment: order.comment,
    DocumentName: order.documentName,
    DocumentVersion: '$DEFAULT',
    RequestedDateTime: invocation.requestedAt,
    Status: status,
    StatusDetails: statusDetails,
    CommandPlugins: withDetails ? [plugin] : [],
  };
}

function cancelCommand(state: SsmState, input: Checked<ssm.CancelCommandRequest>): ssm.CancelCommandResult {
  const found = [...state.invocations.values()].filter(({ order }) => order.commandId === input.CommandId);
  if (found.length === 0) throw modelledFault('json', ssm.InvalidCommandId$, '');
  const wanted = input.InstanceIds ?? [];
  for (const invocation of found) {
    if (wanted.length === 0 || wanted.includes(invocation.instance.instanceId)) invocation.cancel();
  }
  return {};
}

function getParameter(state: SsmState, input: Checked<ssm.GetParameterRequest>): ssm.GetParameterResult {
  const parameter = state.parameters.get(input.Name);
  if (parameter === undefined) throw modelledFault('json', ssm.ParameterNotFound$, '');
  const isSealed = parameter.type === 'SecureString' && input.WithDecryption !== true;
  return {
    Parameter: {
      Name: input.Name,
      Type: parameter.type,
      Value: isSealed ? Buffer.from(`sealed:${input.Name}`).toString('base64') : parameter.value,
      Version: 1,
      LastModifiedDate: parameter.at,
      ARN: `arn:aws:ssm:${state.region}:${ACCOUNT_ID}:parameter/${input.Name.replace(/^\//, '')}`,
      DataType: 'text',
    },
  };
}
