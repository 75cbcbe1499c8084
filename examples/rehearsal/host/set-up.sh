# Makes an Amazon Linux 2023 instance the source of a rehearsal: Redis from source, sample data, and a load that goes on.
# Reads STACK_NAME, RESOURCE, REGION, REDIS_VERSION and REDIS_SHA256; tells CloudFormation how it ended.
set -euo pipefail

report() {
  local code=$?
  /opt/aws/bin/cfn-signal --exit-code "$code" --stack "$STACK_NAME" --resource "$RESOURCE" --region "$REGION" || true
}
dnf install -y aws-cfn-bootstrap
trap report EXIT
dnf install -y gcc make tar gzip nodejs24

build=$(mktemp -d)
cd "$build"
curl -fsSL --retry 5 -o redis.tar.gz "https://download.redis.io/releases/redis-$REDIS_VERSION.tar.gz"
echo "$REDIS_SHA256  redis.tar.gz" | sha256sum --check
tar -xzf redis.tar.gz --strip-components=1
make -j2
make install
cd /
rm -rf "$build"

useradd --system --shell /usr/sbin/nologin redis
install -d -o redis -g redis -m 0750 /var/lib/redis
install -d -m 0755 /etc/redis
# Without a password, because the online migration of ElastiCache knows none: the security groups are the fence.
cat > /etc/redis/redis.conf << 'CONF'
bind 0.0.0.0
port 6379
protected-mode no
databases 16
dir /var/lib/redis
maxmemory 1gb
maxmemory-policy noeviction
appendonly no
CONF

cat > /etc/systemd/system/redis.service << 'UNIT'
[Unit]
Description=Redis, the source of the rehearsal
After=network-online.target
Wants=network-online.target

[Service]
User=redis
ExecStart=/usr/local/bin/redis-server /etc/redis/redis.conf
Restart=on-failure
LimitNOFILE=65535

[Install]
WantedBy=multi-user.target
UNIT

# A little of every type, with and without expiry, in two databases.
cat > /usr/local/bin/rehearsal-data << 'DATA'
#!/bin/bash
set -euo pipefail
{
  for n in $(seq 1 20000); do
    echo "SET session:$n $(printf 'x%.0s' {1..100}) EX $((86400 + n))"
    echo "HSET user:$n name user-$n visits $n"
    echo "ZADD ranking $n user-$n"
  done
  for n in $(seq 1 5000); do
    echo "RPUSH queue:$((n % 50)) job-$n"
    echo "SADD tags:$((n % 100)) tag-$n"
    echo "XADD events * user $n kind click"
  done
  echo 'XGROUP CREATE events workers 0'
  echo 'SELECT 1'
  for n in $(seq 1 1000); do echo "SET cache:$n $n"; done
} | redis-cli --pipe
DATA

# A few hundred writes a second, for as long as the instance lives.
cat > /usr/local/bin/rehearsal-load << 'LOAD'
#!/bin/bash
while sleep 1; do
  redis-benchmark -q -c 2 -n 300 -r 20000 -t set,incr,lpush,hset,zadd > /dev/null || true
  redis-cli LTRIM mylist 0 999 > /dev/null || true
done
LOAD

cat > /etc/systemd/system/rehearsal-load.service << 'UNIT'
[Unit]
Description=Writes to the source of the rehearsal
After=redis.service
Requires=redis.service

[Service]
User=redis
ExecStart=/usr/local/bin/rehearsal-load
Restart=always

[Install]
WantedBy=multi-user.target
UNIT

chmod 0755 /usr/local/bin/rehearsal-data /usr/local/bin/rehearsal-load
systemctl daemon-reload
systemctl enable --now redis.service
timeout 60 bash -c 'until redis-cli ping | grep -q PONG; do sleep 1; done'
/usr/local/bin/rehearsal-data
systemctl enable --now rehearsal-load.service
