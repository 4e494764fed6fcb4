package sqlstore

import (
	"context"
	"database/sql"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// CreateKey implements keys.Store.
func (s *Store) CreateKey(ctx context.Context, k keys.Key, entry keys.Entry, admit func(keys.Organization, int, *keys.Entry) error) (keys.Commit, error) {
	return s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		// Two statements, in this order: a count that was taken before the lock
		// is granted would not see the keys of the transaction that held it.
		o, err := organization(ctx, tx, k.OrganizationID, s.lock)
		if err != nil {
			return keys.Commit{}, err
		}
		active, err := activeKeys(ctx, tx, o.ID, k.CreatedAt)
		if err != nil {
			return keys.Commit{}, err
		}
		if err := checkName(ctx, tx, k, k.CreatedAt); err != nil {
			return keys.Commit{}, err
		}
		if err := admit(o, active, &entry); err != nil {
			return keys.Commit{}, err
		}
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO keys (id, organization_id, client_id, name, name_key, owner_id, scopes, resources,
			                   created_at, expires_at, suspended_at, revoked_at, revoked_reason, revoked_position,
			                   description, networks, token_ttl_us, pending, requested_by)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, '', 0, $11, $12, $13, $14, $15)`,
			k.ID, k.OrganizationID, k.ClientID, k.Name, keys.NameKey(k.Name), k.OwnerID, words(k.Scopes), words(k.Resources),
			micros(k.CreatedAt), micros(k.ExpiresAt), k.Description, prefixes(k.Networks), k.TokenTTL.Microseconds(), k.Pending, k.RequestedBy); err != nil {
			return keys.Commit{}, err
		}
		for _, c := range k.Credentials {
			if err := insertCredential(ctx, tx, k.ID, c); err != nil {
				return keys.Commit{}, err
			}
		}
		return appendEntry(ctx, tx, entry)
	})
}

// counted is the condition that a key takes a slot of the plan at time $2.
const counted = ` organization_id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) `

func activeKeys(ctx context.Context, q querier, organizationID string, t time.Time) (active int, err error) {
	err = q.QueryRowContext(ctx, `SELECT COUNT(*) FROM keys WHERE`+counted, organizationID, micros(t)).Scan(&active)
	return active, err
}

func checkName(ctx context.Context, q querier, k keys.Key, t time.Time) error {
	var others int
	err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM keys WHERE`+counted+`AND name_key = $3 AND id <> $4`,
		k.OrganizationID, micros(t), keys.NameKey(k.Name), k.ID).Scan(&others)
	if err == nil && others > 0 {
		err = keys.ErrNameTaken
	}
	return err
}

func insertCredential(ctx context.Context, tx *sql.Tx, keyID string, c keys.Credential) error {
	_, err := tx.ExecContext(ctx,
		`INSERT INTO credentials (id, key_id, hint, mac, pepper, created_at, ends_at, last_used_at, ends_after_use_us, first_used_at, last_used_from)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		c.ID, keyID, c.Hint, []byte(c.MAC), c.Pepper, micros(c.CreatedAt), micros(c.EndsAt), micros(c.LastUsedAt),
		c.EndsAfterUse.Microseconds(), micros(c.FirstUsedAt), c.LastUsedFrom)
	return err
}

// selectKeys begins every query for keys; its rows are a key and one of its
// credentials each.
const selectKeys = `
	SELECT k.id, k.organization_id, k.client_id, k.name, k.owner_id, k.scopes, k.resources,
	       k.created_at, k.expires_at, k.suspended_at, k.revoked_at, k.revoked_reason, k.revoked_position,
	       k.description, k.networks, k.token_ttl_us, k.pending, k.requested_by, k.staff_hold, k.max_sessions, k.max_lease_us,
	       k.tokens_per_minute,
	       c.id, c.hint, c.mac, c.pepper, c.created_at, c.ends_at, c.last_used_at, c.ends_after_use_us, c.first_used_at, c.last_used_from, c.leaked_at`

const orderSecrets = `c.created_at DESC, c.id`

// scanKey adds a row of selectKeys to list. More columns go to more.
func scanKey(rows *sql.Rows, list []keys.Key, more ...any) ([]keys.Key, error) {
	var k keys.Key
	var scopes, resources, networks string
	var created, expires, suspended, revoked, ttl, lease int64
	var id, hint, from sql.NullString
	var mac []byte
	var pepper, secretCreated, ends, used, afterUse, firstUsed, leaked sql.NullInt64
	columns := []any{&k.ID, &k.OrganizationID, &k.ClientID, &k.Name, &k.OwnerID, &scopes, &resources,
		&created, &expires, &suspended, &revoked, &k.RevokedReason, &k.RevokedPosition,
		&k.Description, &networks, &ttl, &k.Pending, &k.RequestedBy, &k.StaffHold, &k.Verifier.Sessions, &lease,
		&k.TokensPerMinute,
		&id, &hint, &mac, &pepper, &secretCreated, &ends, &used, &afterUse, &firstUsed, &from, &leaked}
	if err := rows.Scan(append(columns, more...)...); err != nil {
		return nil, inRow("keys", k.ID, err) // or its credentials, or its organization
	}
	if n := len(list); n == 0 || list[n-1].ID != k.ID {
		k.Scopes, k.Resources = strings.Fields(scopes), strings.Fields(resources)
		k.CreatedAt, k.ExpiresAt, k.SuspendedAt, k.RevokedAt = instant(created), instant(expires), instant(suspended), instant(revoked)
		k.TokenTTL, k.Verifier.Lease = time.Duration(ttl)*time.Microsecond, time.Duration(lease)*time.Microsecond
		for _, text := range strings.Fields(networks) {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, inRow("keys", k.ID, err) // to drop one would open the key to every network
			}
			k.Networks = append(k.Networks, p)
		}
		list = append(list, k)
	}
	if id.Valid {
		last := &list[len(list)-1]
		last.Credentials = append(last.Credentials, keys.Credential{ID: id.String, Hint: hint.String, MAC: mac, Pepper: int(pepper.Int64),
			CreatedAt: instant(secretCreated.Int64), EndsAt: instant(ends.Int64), LastUsedAt: instant(used.Int64),
			EndsAfterUse: time.Duration(afterUse.Int64) * time.Microsecond, FirstUsedAt: instant(firstUsed.Int64), LastUsedFrom: from.String, LeakedAt: instant(leaked.Int64)})
	}
	return list, nil
}

func queryKeys(ctx context.Context, q querier, query string, args ...any) (list []keys.Key, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	return collectKeys(rows, err)
}

// collectKeys reads all keys of a query, but those whose error leave says to leave out.
func collectKeys(rows *sql.Rows, err error, leave ...func(error) bool) (list []keys.Key, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		more, err := scanKey(rows, list)
		if err != nil && len(leave) > 0 && leave[0](err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = more
	}
	return list, rows.Err()
}

func key(ctx context.Context, q querier, organizationID, id string) (keys.Key, error) {
	list, err := queryKeys(ctx, q, selectKeys+`
		FROM keys k LEFT JOIN credentials c ON c.key_id = k.id
		WHERE (k.id = $1 OR k.client_id = $1) AND k.organization_id = $2 ORDER BY `+orderSecrets, id, organizationID)
	return only(list, err)
}

// only is the one key of a list that has one at most.
func only(list []keys.Key, err error) (keys.Key, error) {
	switch {
	case err != nil:
		return keys.Key{}, err
	case len(list) == 0:
		return keys.Key{}, keys.ErrNotFound
	}
	return list[0], nil
}

// KeyOfCredential implements keys.Store.
func (s *Store) KeyOfCredential(ctx context.Context, credentialID string) (keys.Key, error) {
	k, err := only(queryKeys(ctx, s.read, selectKeys+`
		FROM keys k LEFT JOIN credentials c ON c.key_id = k.id
		WHERE k.id = (SELECT key_id FROM credentials WHERE id = $1) ORDER BY `+orderSecrets, credentialID))
	return k, s.fail(err)
}

// Key implements keys.Store.
func (s *Store) Key(ctx context.Context, organizationID, id string) (keys.Key, error) {
	k, err := key(ctx, s.read, organizationID, id)
	return k, s.fail(err)
}

// statuses are the conditions of keys.Status at time $2.
var statuses = map[keys.Status]string{
	"":             ``,
	keys.Active:    ` AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) AND suspended_at = 0 AND NOT pending`,
	keys.Pending:   ` AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) AND suspended_at = 0 AND pending`,
	keys.Suspended: ` AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2) AND suspended_at > 0`,
	keys.Expired:   ` AND revoked_at = 0 AND expires_at > 0 AND expires_at <= $2`,
	keys.Revoked:   ` AND revoked_at > 0`,
}

// orders are the fields of keys.Order, of keys as k.
var orders = map[keys.Order]string{
	"":              `k.created_at`,
	keys.ByCreation: `k.created_at`,
	keys.ByName:     `k.name_key`,
	keys.ByUse:      `(SELECT COALESCE(MAX(u.last_used_at), 0) FROM credentials u WHERE u.key_id = k.id)`,
	keys.ByEnd:      `(CASE WHEN k.expires_at = 0 THEN 9223372036854775807 ELSE k.expires_at END)`,
}

// Keys implements keys.Store.
func (s *Store) Keys(ctx context.Context, organizationID string, page keys.Page) ([]keys.Key, error) {
	status, known := statuses[page.Status]
	field, sorted := orders[page.Order]
	if !known || !sorted {
		return nil, nil
	}
	limit := int64(page.Limit)
	if limit <= 0 {
		limit = math.MaxInt64
	}
	compare, direction := `<`, ` DESC`
	if page.Ascending {
		compare, direction = `>`, ``
	}
	order := ` ORDER BY ` + field + direction + `, k.id` + direction
	args := []any{organizationID, time.Now().UnixMicro(), limit}
	where := status
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where += condition
	}
	if page.Counting {
		add(` AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`)
	}
	if page.Scope != "" {
		add(` AND `+holds(`' ' || k.scopes || ' '`, `?`), " "+page.Scope+" ")
	}
	if page.OwnerID != "" {
		add(` AND k.owner_id = ?`, page.OwnerID)
	}
	if page.Text != "" {
		if names := holds(`REPLACE(k.name_key, 'ß', 'ss')`, `?`); keys.SearchesClients(page.Text) {
			add(` AND (`+names+` OR `+holds(`k.client_id`, `?`)+`)`, keys.SearchKey(page.Text), page.Text)
		} else {
			add(` AND `+names, keys.SearchKey(page.Text))
		}
	}
	if !page.UnusedSince.IsZero() {
		add(` AND `+orders[keys.ByUse]+` < ?`, micros(page.UnusedSince))
	}
	if m := page.After; m != nil && page.Order == keys.ByName {
		add(` AND (`+field+`, k.id) `+compare+` (?, ?)`, m.Text, m.ID)
	} else if m != nil {
		add(` AND (`+field+`, k.id) `+compare+` (?, ?)`, m.Micros, m.ID)
	}
	list, err := queryKeys(ctx, s.read, selectKeys+`
		FROM keys k LEFT JOIN credentials c ON c.key_id = k.id
		WHERE k.id IN (SELECT k.id FROM keys k WHERE k.organization_id = $1 AND CAST($2 AS BIGINT) > 0`+where+order+` LIMIT $3)`+order+`, `+orderSecrets, args...)
	return list, s.fail(err)
}

// holds is the condition that a text has a part, lacks that it has not. LIKE ignores
// case on one engine and not on the other.
func holds(text, part string) string { return `REPLACE(` + text + `, ` + part + `, '') <> ` + text }
func lacks(text, part string) string { return `REPLACE(` + text + `, ` + part + `, '') = ` + text }

func prefixes(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return words(texts)
}

// ActiveKeys implements keys.Store.
func (s *Store) ActiveKeys(ctx context.Context, organizationID string, t time.Time) (keys.Organization, int, error) {
	o, err := organization(ctx, s.read, organizationID, "")
	if err != nil {
		return keys.Organization{}, 0, s.fail(err)
	}
	active, err := activeKeys(ctx, s.read, organizationID, t)
	return o, active, s.fail(err)
}

// ChangeKey implements keys.Store.
func (s *Store) ChangeKey(ctx context.Context, organizationID, id string, change keys.ChangeKey) (k keys.Key, commit keys.Commit, err error) {
	commit, err = s.change(ctx, func(tx *sql.Tx) (keys.Commit, error) {
		o, err := organization(ctx, tx, organizationID, s.lock)
		if err != nil {
			return keys.Commit{}, err
		}
		t := time.Now()
		active, err := activeKeys(ctx, tx, o.ID, t)
		if err != nil {
			return keys.Commit{}, err
		}
		if k, err = key(ctx, tx, organizationID, id); err != nil {
			return keys.Commit{}, err
		}
		before := k
		before.Credentials = slices.Clone(k.Credentials)
		entry, err := change(o, active, &k)
		if err != nil {
			return keys.Commit{}, err
		}
		if k.Counts(t) && (!before.Counts(t) || keys.NameKey(before.Name) != keys.NameKey(k.Name)) {
			if err := checkName(ctx, tx, k, t); err != nil {
				return keys.Commit{}, err
			}
		}
		if err := saveKey(ctx, tx, before, k); err != nil {
			return keys.Commit{}, err
		}
		commit, err := appendEntry(ctx, tx, entry)
		if err == nil && before.RevokedAt.IsZero() && !k.RevokedAt.IsZero() {
			k.RevokedPosition = commit.Position
			_, err = tx.ExecContext(ctx, `UPDATE keys SET revoked_position = $2 WHERE id = $1`, k.ID, k.RevokedPosition)
		}
		return commit, err
	})
	return k, commit, err
}

// saveKey writes what may have changed between before and k.
func saveKey(ctx context.Context, tx *sql.Tx, before, k keys.Key) error {
	if _, err := tx.ExecContext(ctx,
		`UPDATE keys SET scopes = $2, resources = $3, expires_at = $4, suspended_at = $5, revoked_at = $6, revoked_reason = $7,
		                 name = $8, name_key = $9, description = $10, owner_id = $11, networks = $12, token_ttl_us = $13, pending = $14, staff_hold = $15, requested_by = $16,
		                 max_sessions = $17, max_lease_us = $18, tokens_per_minute = $19 WHERE id = $1`,
		k.ID, words(k.Scopes), words(k.Resources), micros(k.ExpiresAt), micros(k.SuspendedAt), micros(k.RevokedAt), k.RevokedReason,
		k.Name, keys.NameKey(k.Name), k.Description, k.OwnerID, prefixes(k.Networks), k.TokenTTL.Microseconds(), k.Pending, k.StaffHold, k.RequestedBy,
		k.Verifier.Sessions, k.Verifier.Lease.Microseconds(), k.TokensPerMinute); err != nil {
		return err
	}
	for _, old := range before.Credentials {
		if slices.ContainsFunc(k.Credentials, func(c keys.Credential) bool { return c.ID == old.ID }) {
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM credentials WHERE id = $1`, old.ID); err != nil {
			return err
		}
	}
	// In the order of their ids, as usage is stored: two that meet wait, and do not
	// deadlock.
	for _, c := range slices.SortedFunc(slices.Values(k.Credentials), func(a, b keys.Credential) int { return strings.Compare(a.ID, b.ID) }) {
		i := slices.IndexFunc(before.Credentials, func(old keys.Credential) bool { return old.ID == c.ID })
		var err error
		if i < 0 {
			err = insertCredential(ctx, tx, k.ID, c)
		} else if old := before.Credentials[i]; !c.EndsAt.Equal(old.EndsAt) || c.EndsAfterUse != old.EndsAfterUse || !c.LeakedAt.Equal(old.LeakedAt) {
			_, err = tx.ExecContext(ctx, `UPDATE credentials SET ends_at = $2, ends_after_use_us = $3, leaked_at = $4 WHERE id = $1`,
				c.ID, micros(c.EndsAt), c.EndsAfterUse.Microseconds(), micros(c.LeakedAt))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const selectRecord = selectKeys + `,
	` + organizationColumns + `, f.seq
	FROM keys k JOIN organizations o ON o.id = k.organization_id
	JOIN feed f ON f.one = 1
	LEFT JOIN credentials c ON c.key_id = k.id
	WHERE k.client_id = COALESCE((SELECT client_id FROM keys WHERE client_id = $1), $2)
	ORDER BY ` + orderSecrets

// Record implements keys.Store.
func (s *Store) Record(ctx context.Context, clientID, decoy string) (*keys.Record, error) {
	rows, err := s.records(ctx, clientID, decoy)
	if err != nil {
		return nil, s.fail(err)
	}
	defer rows.Close()
	var list []keys.Key
	var r keys.Record
	var o organizationRow
	for rows.Next() {
		o = organizationRow{}
		if list, err = scanKey(rows, list, append(o.columns(), &r.Position)...); err != nil {
			return nil, s.fail(err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, s.fail(err)
	}
	if len(list) == 0 {
		return nil, keys.ErrNotFound
	}
	r.Key = list[0]
	r.Organization, err = o.organization()
	return &r, s.fail(err)
}
