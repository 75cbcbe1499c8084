import { App } from 'aws-cdk-lib';
import { RehearsalStack } from './rehearsal-stack.ts';

// Two environments of which one is deployed: in the plain one the target has no transit encryption, in the other one
// it has. Each has everything of its own, so that both can stand side by side.
const app = new App({
  // Else the launch template that asks for IMDSv2 has the same name in both stacks.
  context: { '@aws-cdk/aws-ec2:uniqueImdsv2TemplateName': true },
});
new RehearsalStack(app, 'Rehearsal', { replicationGroupId: 'rehearsal', transitEncryption: false });
new RehearsalStack(app, 'RehearsalTls', { replicationGroupId: 'rehearsal-tls', transitEncryption: true });
app.synth();
