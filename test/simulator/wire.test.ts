import * as elasticache from '@aws-sdk/client-elasticache';
import * as ssm from '@aws-sdk/client-ssm';
import { describe, expect, it } from 'vitest';
import { readJsonInput, readQueryInput, WireMismatch, writeJsonAnswer, writeXmlAnswer } from './wire.ts';

const query = (text: string) => new Map(new URLSearchParams(text));
const startInput = elasticache.StartMigration$[4];
const endpoint = 'CustomerNodeEndpointList.member.1';

describe('the query protocol', () => {
  it('reads structures in lists with the types of the schema', () => {
    const input = readQueryInput(
      startInput,
      query(`Action=StartMigration&ReplicationGroupId=g&${endpoint}.Address=10.0.0.1&${endpoint}.Port=6379`),
    );
    expect(input).toEqual({
      ReplicationGroupId: 'g',
      CustomerNodeEndpointList: [{ Address: '10.0.0.1', Port: 6379 }],
    });
  });

  it('reads timestamps, booleans, empty lists and lists with a tag of their own', () => {
    const events = readQueryInput(elasticache.DescribeEvents$[4], query('StartTime=2026-11-20T08:00:00Z'));
    expect(events).toEqual({ StartTime: new Date('2026-11-20T08:00:00Z') });
    const complete = readQueryInput(
      elasticache.CompleteMigration$[4],
      query('ReplicationGroupId=g&Force=true'),
    );
    expect(complete).toEqual({ ReplicationGroupId: 'g', Force: true });
    const empty = readQueryInput(startInput, query('ReplicationGroupId=g&CustomerNodeEndpointList='));
    expect(empty).toEqual({ ReplicationGroupId: 'g', CustomerNodeEndpointList: [] });
    const tagged = readQueryInput(
      elasticache.AddTagsToResource$[4],
      query('ResourceName=arn&Tags.Tag.1.Key=k&Tags.Tag.1.Value=v'),
    );
    expect(tagged).toEqual({ ResourceName: 'arn', Tags: [{ Key: 'k', Value: 'v' }] });
  });

  it.each([
    ['an unknown parameter', `ReplicationGroupId=g&Sauce=x&${endpoint}.Port=1`, /no parameter Sauce/],
    ['an unknown parameter in a list', `ReplicationGroupId=g&${endpoint}.Prot=1`, /no parameter .*Prot/],
    ['a gap in a list', 'ReplicationGroupId=g&CustomerNodeEndpointList.member.2.Port=1', /no parameter/],
    ['a wrong primitive', `ReplicationGroupId=g&${endpoint}.Port=many`, /expected a number, got many/],
    ['a missing required member', 'ReplicationGroupId=g', /CustomerNodeEndpointList is required/],
  ])('refuses %s', (_what, text, reason) => {
    expect(() => readQueryInput(startInput, query(text))).toThrow(WireMismatch);
    expect(() => readQueryInput(startInput, query(text))).toThrow(reason);
  });

  it('wraps an answer in the names of its operation and escapes its values', () => {
    const xml = writeXmlAnswer({
      operation: elasticache.DescribeEvents$,
      output: { Events: [{ Message: 'a < b & c', Date: new Date(0) }] },
      xmlNamespace: 'http://example.test/',
      requestId: 'r-1',
    });
    expect(xml).toBe(
      '<DescribeEventsResponse xmlns="http://example.test/"><DescribeEventsResult><Events><Event>' +
        '<Message>a &lt; b &amp; c</Message><Date>1970-01-01T00:00:00Z</Date></Event></Events>' +
        '</DescribeEventsResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>' +
        '</DescribeEventsResponse>',
    );
  });

  it('refuses an answer that its schema does not know', () => {
    const write = (output: unknown) =>
      writeXmlAnswer({
        operation: elasticache.StartMigration$,
        output,
        xmlNamespace: 'n',
        requestId: 'r',
      });
    expect(() => write({ ReplicationGroup: { Mood: 'good' } })).toThrow(/Mood is no member/);
    expect(() => write({ ReplicationGroup: { Status: 1 } })).toThrow(/expected a string, got 1/);
    expect(() => write({ ReplicationGroup: { MemberClusters: 'a' } })).toThrow(/expected a list/);
    expect(() => write({ ReplicationGroup: 'a' })).toThrow(/expected an object/);
  });

  it('writes an answer without members', () => {
    const xml = writeXmlAnswer({
      operation: elasticache.DescribeEvents$,
      output: {},
      xmlNamespace: 'n',
      requestId: 'r',
    });
    expect(xml).toContain('<DescribeEventsResult></DescribeEventsResult>');
  });
});

describe('JSON 1.1', () => {
  it('reads maps of lists', () => {
    const body = JSON.stringify({ DocumentName: 'd', Parameters: { commands: ['a', 'b'] } });
    expect(readJsonInput(ssm.SendCommand$[4], body)).toEqual(JSON.parse(body));
  });

  it.each([
    ['an unknown member', { DocumentName: 'd', Sauce: 1 }, /Sauce is no member/],
    ['a wrong primitive', { DocumentName: 'd', TimeoutSeconds: '30' }, /expected a number, got "30"/],
    ['a wrong primitive in a map', { DocumentName: 'd', Parameters: { commands: [1] } }, /expected a string/],
    ['a missing required member', { Comment: 'c' }, /DocumentName is required/],
  ])('refuses %s', (_what, body, reason) => {
    expect(() => readJsonInput(ssm.SendCommand$[4], JSON.stringify(body))).toThrow(reason);
  });

  it('refuses what is not JSON', () => {
    expect(() => readJsonInput(ssm.SendCommand$[4], '{')).toThrow(WireMismatch);
  });

  it('writes timestamps as seconds', () => {
    const text = writeJsonAnswer(ssm.SendCommand$, { Command: { RequestedDateTime: new Date(1500) } });
    expect(JSON.parse(text)).toEqual({ Command: { RequestedDateTime: 1.5 } });
  });

  it('refuses an answer that its schema does not know', () => {
    expect(() => writeJsonAnswer(ssm.SendCommand$, { Order: {} })).toThrow(/Order is no member/);
  });
});
