#!/usr/bin/env bash
# Makes the databases of this directory: for each commit one of SQLite and one of
# Postgres, with the program of that commit, as its users made theirs.
#
#   make.sh POSTGRES_URL COMMIT...
#
# POSTGRES_URL is a server on which databases may be made and dropped, such as
# postgres://postgres@127.0.0.1:5432. COMMIT.sqlite.sql.gz and COMMIT.postgres.sql.gz
# are SQL, and begin with what a test needs to know, as comments: -- NAME=value.
#
# A version that is released gets its two files: make.sh POSTGRES_URL COMMIT. The tests
# take every file that is here. Needs git, go, curl, sqlite3, psql and pg_dump.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

listen=127.0.0.1:21650
# A value for tests: it opens nothing else.
master=Zml4dHVyZXMgb2YgdGhlIG1pZ3JhdGlvbnMgdGVzdHM=

build() { # COMMIT
	mkdir "$work/$1"
	git -C "$here/../../.." archive "$1" | tar -x -C "$work/$1"
	(cd "$work/$1" && CGO_ENABLED=0 go build -trimpath -o "$work/imara-$1" ./cmd/imara)
}

field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' <<<"$2"; }

start() { # COMMIT DATA [FLAG...]
	local imara=$work/imara-$1 data=$2
	shift 2
	mkdir "$data"
	(umask 077 && echo $master >"$data/master.key")
	"$imara" serve --demo --listen $listen --data "$data" --master-key-file "$data/master.key" "$@" >"$data/out" 2>"$data/log" &
	server=$!
	until curl -fs http://$listen/readyz >/dev/null && [ -s "$data/demo.env" ]; do
		kill -0 $server || { cat "$data/log"; exit 1; }
		sleep 0.1
	done
}

stop() {
	kill $server
	wait $server || true
	server=
}

# story is what a customer does, and prints what the test needs of it.
story() { # COMMIT DATA
	local imara=$work/imara-$1 data=$2 nightly leaked link
	set -a; . "$data/demo.env"; set +a
	nightly=$("$imara" keys create --name Nightly --scope alerts:read --json)
	leaked=$("$imara" keys create --name Leaked --scope alerts:read --json)
	"$imara" keys revoke Leaked --yes >/dev/null
	curl -fs -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials "$TOKEN_URL" >/dev/null
	if "$imara" help | grep -q '^  webhooks'; then
		"$imara" webhooks add https://hooks.imara.invalid/ --json >/dev/null
		"$imara" keys create --name Hooked --scope alerts:read --json >/dev/null
	fi
	link=$(sed -n 's/^ *\(http.*\/link\/.*\)/\1/p' "$data/out")
	if [ -n "$link" ]; then
		curl -fs -o /dev/null -H 'Sec-Fetch-Site: same-origin' -d 'password=correct horse battery&again=correct horse battery' "$link"
	fi
	cat <<-END
	-- MASTER_KEY=$master
	-- ISSUER=$IMARA_ISSUER
	-- CLIENT_ID=$CLIENT_ID
	-- CLIENT_SECRET=$CLIENT_SECRET
	-- OPERATOR_ID=$IMARA_CLIENT_ID
	-- OPERATOR_SECRET=$IMARA_CLIENT_SECRET
	-- NIGHTLY_ID=$(field client_id "$nightly")
	-- NIGHTLY_SECRET=$(field value "$nightly")
	-- LEAKED_ID=$(field client_id "$leaked")
	-- LEAKED_SECRET=$(field value "$leaked")
	END
}

sqlite() { # COMMIT
	local data=$work/sqlite-$1
	start "$1" "$data"
	story "$1" "$data" >"$data/dump"
	stop
	sqlite3 "$data/imara.db" .dump >>"$data/dump"
	gzip -9n <"$data/dump" >"$here/$1.sqlite.sql.gz"
}

# Without the lines for psql only, and what a test on another server cannot set.
postgres() { # COMMIT
	local data=$work/postgres-$1 name=imara_fixture_$1
	psql -qX "$url/postgres" -c "SET client_min_messages = error" -c "DROP DATABASE IF EXISTS $name" -c "CREATE DATABASE $name"
	start "$1" "$data" --database-url "$url/$name?sslmode=disable"
	story "$1" "$data" >"$data/dump"
	stop
	pg_dump --inserts --no-owner --no-privileges "$url/$name" | grep -v -e '^\\' -e '^SET ' -e '^--' -e '^$' >>"$data/dump"
	psql -qX "$url/postgres" -c "DROP DATABASE $name"
	gzip -9n <"$data/dump" >"$here/$1.postgres.sql.gz"
}

url=$1
shift
for commit; do
	build "$commit"
	sqlite "$commit"
	if "$work/imara-$commit" serve --help | grep -q -- --database-url; then
		postgres "$commit"
	fi
done
