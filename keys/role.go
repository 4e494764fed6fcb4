package keys

import (
	"fmt"
	"slices"
)

// Role of a member.
type Role string

// The roles of a customer's members, and those of the operator's.
const (
	Owner     Role = "owner"
	Admin     Role = "admin"
	Developer Role = "developer"
	Auditor   Role = "auditor"
	Billing   Role = "billing"

	Support Role = "support" // sets plans and custom limits
	Staff   Role = "operator"
)

// CustomerRoles and StaffRoles are all there are.
func CustomerRoles() []Role { return []Role{Owner, Admin, Developer, Auditor, Billing} }
func StaffRoles() []Role    { return []Role{Support, Staff} }

// CreatorRoles are those that may create keys at all.
func CreatorRoles() []Role { return slices.Clone(permissions["key.create"]) }

// RolesOf are the roles that members of o can have.
func RolesOf(o Organization) []Role {
	if o.Operator {
		return StaffRoles()
	}
	return CustomerRoles()
}

// Of tells whether the role is one of a member of o.
func (role Role) Of(o Organization) bool { return slices.Contains(RolesOf(o), role) }

// An Action is something that may be asked for: noun.verb. What changes something
// stands under its action in the audit log.
type Action string

// own in a list of roles: a Developer may do it to the keys that it owns.
const own Role = "own"

// Permissions say which roles may do what. An action that is not here is for
// nobody. What an organisation's own policy forbids, no role allows.
var permissions = map[Action][]Role{
	"organization.read":   {Owner, Admin, Developer, Auditor, Billing, Support, Staff},
	"organization.rename": {Owner, Staff},
	"organization.create": {Staff},
	"organization.list":   {Support, Staff},
	"plan.set":            {Staff},
	"limit.set":           {Support, Staff},
	"limit.request":       {Owner, Admin, Billing},
	"limit.answer":        {Support, Staff},
	"policy.set":          {Owner},

	"member.read":   {Owner, Admin, Developer, Auditor, Billing, Support, Staff},
	"member.add":    {Owner, Staff}, // the first owner of a new customer
	"member.edit":   {Owner},
	"member.remove": {Owner},
	// By whoever is invited.
	"member.accept":  {Owner, Admin, Developer, Auditor, Billing, Support, Staff},
	"member.decline": {Owner, Admin, Developer, Auditor, Billing, Support, Staff},

	"key.read":    {Owner, Admin, Developer, Auditor, Support, Staff},
	"key.create":  {Owner, Admin, Developer},
	"key.approve": {Owner, Admin},
	"key.edit":    {Owner, Admin, own},
	"key.rotate":  {Owner, Admin, own, Staff}, // Staff: the operator's own
	"key.suspend": {Owner, Admin, Staff},
	"key.resume":  {Owner, Admin, Staff},
	"key.revoke":  {Owner, Admin, Staff, own},
	"secret.end":  {Owner, Admin, own},
	// Where a rotation gives its old secret another end, or the new one up.
	"secret.extend":       {Owner, Admin, own},
	"secret.shorten":      {Owner, Admin, own},
	"key.cancel_rotation": {Owner, Admin, own},
	// By whoever holds the secret, and by the program.
	"secret.leaked":    {},
	"secret.first_use": {},
	"token.revoke":     {},
	"key.expiring":     {},
	"key.expired":      {},
	// By whoever has a link.
	"account.password": {},
	// By whoever signs in, or tries to.
	"account.sign_in":        {},
	"account.sign_in_failed": {},
	"account.sign_out":       {},
	"account.step_up":        {},

	"usage.read": {Owner, Admin, Developer, Auditor, Support, Staff},

	"audit.read":   {Owner, Admin, Auditor, Support, Staff},
	"audit.export": {Owner, Auditor, Staff},

	"webhook.read":      {Owner, Admin, Auditor},
	"webhook.add":       {Owner, Admin},
	"webhook.edit":      {}, // how a new one is called in logs of before
	"webhook.test":      {Owner, Admin},
	"webhook.redeliver": {Owner, Admin},
	"webhook.remove":    {Owner, Admin},

	"catalogue.read":  {Owner, Admin, Developer, Auditor, Billing, Support, Staff},
	"resource.set":    {Staff},
	"resource.remove": {Staff},
	"preset.set":      {Staff},
	"preset.remove":   {Staff},
	"verifier.read":   {Support, Staff},
	"verifier.end":    {Staff},
	// By the program, about verifiers that fell silent or failed their examination.
	"verifier.retire":   {},
	"verifier.unproved": {},
	"store.restored":    {}, // by who runs imara restored
	"account.link":      {Staff},
	"account.reset":     {Staff},
	"account.unbind":    {Staff},

	"signing.read":     {Support, Staff},
	"signing.make":     {}, // by the program
	"signing.rotate":   {Staff},
	"signing.withdraw": {Staff},
}

// Actions are all that there are.
func Actions() []Action {
	var all []Action
	for action := range permissions {
		all = append(all, action)
	}
	slices.Sort(all)
	return all
}

// May returns nil when the actor's role allows the action, for some keys at least,
// else [ErrForbidden]. An actor without a role is limited by its scopes alone.
func (by Actor) May(action Action) error {
	roles := permissions[action]
	switch {
	case roles == nil:
	case by.MemberID == "", slices.Contains(roles, by.Role), by.Role == Developer && slices.Contains(roles, own):
		return nil
	}
	return fmt.Errorf("%w: the role %s does not allow %s", ErrForbidden, by.Role, action)
}

// MayKey is [Actor.May] for one key.
func (by Actor) MayKey(action Action, k *Key) error {
	if err := by.May(action); err != nil {
		return err
	}
	if action == "key.rotate" && by.Role == Staff && k.OrganizationID != OperatorOrganization {
		return fmt.Errorf("%w: only keys of the operator's organisation", ErrForbidden)
	}
	if by.Role == Developer && !slices.Contains(permissions[action], Developer) && k.OwnerID != by.MemberID {
		return fmt.Errorf("%w: the key belongs to another member", ErrForbidden)
	}
	return nil
}
