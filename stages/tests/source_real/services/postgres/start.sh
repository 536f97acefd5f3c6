# As the official image does it: no start without a password, a server for the set-up that listens on no port, then the
# real one as postgres.
set -eu
if [ -z "${POSTGRES_PASSWORD:-}" ]; then
  echo "Error: Database is uninitialized and superuser password is not specified." >&2
  exit 1
fi
data=/var/lib/postgresql/data
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
user=${POSTGRES_USER:-postgres}
chown postgres "$data"
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
if [ ! -e "$data/PG_VERSION" ]; then
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  chown postgres /tmp/password
  as_postgres initdb -D "$data" --username "$user" --pwfile /tmp/password --auth-host scram-sha-256 --no-sync >/dev/null
  rm /tmp/password
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
  as_postgres pg_ctl -D "$data" -o "-c listen_addresses='' -c fsync=off" -w start >/dev/null
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    as_postgres createdb --username "$user" --maintenance-db postgres "${POSTGRES_DB:-$user}"
  fi
  as_postgres pg_ctl -D "$data" -m fast -w stop >/dev/null
fi
exec setpriv --reuid postgres --regid postgres --init-groups "$(command -v postgres)" -D "$data" -c 'listen_addresses=*'
