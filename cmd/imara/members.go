package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func membersCommand() *cobra.Command {
	cmd, f := remoteCommand("members", "Manage the members of an organisation")
	cmd.AddCommand(membersList(f))
	cmd.AddCommand(changing(membersAdd(f), membersEdit(f), membersRemove(f))...)
	return cmd
}

const memberHeader = "ID\tNAME\tEMAIL\tROLE\tSTATUS\tSINCE\tLEFT"

func memberRow(m management.Member) []string {
	left := "-"
	if m.RemovedAt != nil {
		left = date(m.RemovedAt)
	}
	return []string{m.ID, m.Name, m.Email, m.Role, m.Status, date(&m.CreatedAt), left}
}

func (f *remote) member(cmd *cobra.Command, org *api, method, path string, request any) error {
	var m management.Member
	if err := org.do(cmd.Context(), method, path, request, &m); err != nil {
		return err
	}
	row := memberRow(m)
	row[0] = dash(row[0]) // a dry run adds nobody
	return f.table(cmd, m, memberHeader, [][]string{row})
}

func membersList(f *remote) *cobra.Command {
	var removed bool
	cmd := f.within("list", "List members", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		query := url.Values{}
		if removed {
			query.Set("removed", "true")
		}
		list, err := all[management.Member](cmd, org, "/members", query)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, m := range list.Data {
			rows = append(rows, memberRow(m))
		}
		return f.table(cmd, list, memberHeader, rows)
	})
	cmd.Flags().BoolVar(&removed, "removed", false, "those who left, too")
	return cmd
}

func membersAdd(f *remote) *cobra.Command {
	var request management.AddMember
	cmd := f.within("add", "Invite a member", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		return f.member(cmd, org, http.MethodPost, "/members", request)
	})
	cmd.Flags().StringVar(&request.Name, "name", "", "name (required)")
	cmd.Flags().StringVar(&request.Email, "email", "", "address (required)")
	cmd.Flags().BoolVar(&request.Accepted, "accepted", false,
		"no invitation: the person agreed elsewhere (operators)")
	cmd.Flags().StringVar(&request.Role, "role", "", "owner, admin, developer, auditor or billing; support or operator for staff (required)")
	return cmd
}

// memberIDs are for completion.
func (f *remote) memberIDs(cmd *cobra.Command, server *api) ([]string, error) {
	list, err := all[management.Member](cmd, server.of(f.org), "/members", nil)
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID+"\t"+m.Name)
	}
	return ids, err
}

// findMember returns the one with this id or address, and the API for changes of it.
func findMember(cmd *cobra.Command, org *api, name string) (m management.Member, _ *api, err error) {
	list, err := all[management.Member](cmd, org, "/members", nil)
	if err != nil {
		return m, nil, err
	}
	for _, m := range list.Data {
		if m.ID == name || strings.EqualFold(m.Email, name) {
			org, err := org.asOf(cmd.Context(), "/members/"+m.ID, &m)
			return m, org, err
		}
	}
	return m, nil, missing("member", name)
}

func membersEdit(f *remote) *cobra.Command {
	var name, role string
	cmd := f.completes(f.within("edit MEMBER", "Change a member's name or role", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		m, org, err := findMember(cmd, org, args[0])
		if err != nil {
			return err
		}
		var request management.EditMember
		if cmd.Flags().Changed("name") {
			request.Name = &name
		}
		if cmd.Flags().Changed("role") {
			request.Role = &role
		}
		return f.member(cmd, org, http.MethodPatch, "/members/"+m.ID, request)
	}), f.memberIDs)
	cmd.Flags().StringVar(&name, "name", "", "another name")
	cmd.Flags().StringVar(&role, "role", "", "another role")
	cmd.MarkFlagsOneRequired("name", "role")
	return cmd
}

func membersRemove(f *remote) *cobra.Command {
	var heir string
	cmd := f.completes(f.within("remove MEMBER", "End a membership; the member's keys go to another", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		m, org, err := findMember(cmd, org, args[0])
		if err != nil {
			return err
		}
		if err := f.confirm(cmd, "Remove "+m.Name+" ("+m.Email+")?"); err != nil {
			return err
		}
		return f.member(cmd, org, http.MethodDelete, "/members/"+m.ID+"?"+url.Values{"keys_go_to": {heir}}.Encode(), nil)
	}), f.memberIDs)
	cmd.Flags().StringVar(&heir, "keys-go-to", "", "member who takes over the keys")
	return cmd
}
