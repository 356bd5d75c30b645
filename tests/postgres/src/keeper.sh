# Keeps one PostgreSQL server in a folder of its own. Reads one word a line and answers each with a
# line. When its input ends, which it does however the test process ends, server and folder go.
#
# $1: where the programs are   $2: the port   $3: the superuser's password, or nothing for none
# $4, $5: certificate and key as PEM, or nothing for no TLS
set -u
umask 077
bin=$1 port=$2 password=$3 certificate=$4 key=$5
dir=$(mktemp -d /tmp/restore-test-postgres.XXXXXX) || exit 1
cd "$dir" || exit 1
trap 'cd /; rm -rf "$dir"' EXIT

auth=trust
if [ -n "$password" ]; then auth=scram-sha-256; fi
printf '%s\n' "${password:-none}" >password
"$bin/initdb" -D data -U postgres --no-locale -E UTF8 --no-sync --pwfile=password \
  --auth-host="$auth" --auth-local="$auth" >log 2>&1 || { cat log >&2; exit 1; }
{
  echo "listen_addresses = '127.0.0.1'"
  echo "port = $port"
  echo "unix_socket_directories = '$dir'"
  echo "max_connections = 400"
  echo "fsync = off"
} >>data/postgresql.conf
if [ -n "$certificate" ]; then
  printf '%s\n' "$certificate" >data/server.crt
  printf '%s\n' "$key" >data/server.key
  echo "ssl = on" >>data/postgresql.conf
  # Over TCP with TLS or not at all.
  sed -i 's/^host /hostssl /' data/pg_hba.conf
fi

start() {
  "$bin/postgres" -D data >>log 2>&1 &
  pid=$!
  tries=0
  until "$bin/pg_isready" -q -h "$dir" -p "$port"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 600 ] || ! kill -0 "$pid" 2>/dev/null; then
      cat log >&2
      exit 1
    fi
    sleep 0.05
  done
}

end() {
  kill "-$1" "$pid" 2>/dev/null
  wait "$pid"
}

start
echo "$dir"
while read -r word; do
  case $word in
    start) start ;;
    stop) end INT ;;
    kill) end QUIT ;;
  esac
  echo "$word"
done
end QUIT
