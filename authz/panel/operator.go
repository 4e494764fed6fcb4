package panel

import (
	"net/http"
	"slices"

	"github.com/imara/apikeys/keys"
)

// operatorRoot is where the pages begin of whoever runs the server.
const operatorRoot = "/admin"

// isStaff tells whether a membership is one of the operator's staff.
func isStaff(m keys.Member) bool { return slices.Contains(keys.StaffRoles(), m.Role) }

// staff admits the operator's staff, who act on every organisation with the role that
// they have in the operator's; for others there is nothing here.
func (p *panel) staff(next handle) handle {
	return p.signedIn(func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		i := slices.IndexFunc(v.Memberships, isStaff)
		if i < 0 {
			return keys.ErrNotFound
		}
		v.root = operatorRoot
		if err := p.acts(w, r, v, v.Memberships[i]); err != nil {
			return err
		}
		return next(w, r, v)
	})
}

// Elsewhere is the other side of the panel, for who may see both: the operator's pages,
// or from these the visitor's own organisations.
func (v *visitor) Elsewhere() string {
	staff := slices.ContainsFunc(v.Memberships, isStaff)
	customer := slices.ContainsFunc(v.Memberships, func(m keys.Member) bool { return !isStaff(m) })
	switch {
	case staff && v.root != operatorRoot:
		return operatorRoot + "/orgs"
	case customer && v.root == operatorRoot:
		return "/"
	}
	return ""
}
