package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/management"
)

func orgsCommand() *cobra.Command {
	cmd, f := remoteCommand("orgs", "Manage organisations: plans, limits and key policy")
	cmd.AddCommand(orgsList(f), orgsShow(f), orgsPolicy(f))
	cmd.AddCommand(changing(orgsCreate(f), orgsRename(f), orgsSetPlan(f), orgsSetLimit(f),
		orgsRequestLimit(f), orgsAnswerLimit(f), orgsSetPolicy(f))...)
	return cmd
}

const orgHeader = "ID\tNAME\tPLAN\tCUSTOM LIMIT\tREQUEST\tCREATED"

func orgRow(o management.Organization) []string {
	limit, request := "-", "-"
	if o.CustomLimit != nil {
		limit = fmt.Sprintf("%d by %s", o.CustomLimit.MaxKeys, o.CustomLimit.By)
	}
	if o.LimitRequest != nil {
		request = fmt.Sprintf("%d %s", o.LimitRequest.MaxKeys, o.LimitRequest.State)
	}
	return []string{o.ID, o.Name, o.Plan, limit, request, date(&o.CreatedAt)}
}

// one makes a call whose answer is an organisation, and shows it.
func (f *remote) one(cmd *cobra.Command, server *api, method, path string, request any) error {
	var o management.Organization
	if err := server.do(cmd.Context(), method, path, request, &o); err != nil {
		return err
	}
	row := orgRow(o)
	row[0] = dash(row[0]) // a dry run makes none
	return f.table(cmd, o, orgHeader, [][]string{row})
}

func orgsList(f *remote) *cobra.Command {
	return f.command("list", "List organisations (operators)", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		list, err := all[management.Organization](cmd, server, "/orgs", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, o := range list.Data {
			rows = append(rows, orgRow(o))
		}
		return f.table(cmd, list, orgHeader, rows)
	})
}

func orgsCreate(f *remote) *cobra.Command {
	var request management.CreateOrganization
	cmd := f.command("create", "Create an organisation (operators)", cobra.NoArgs, func(cmd *cobra.Command, server *api, _ []string) error {
		return f.one(cmd, server, http.MethodPost, "/orgs", request)
	})
	cmd.Flags().StringVar(&request.Name, "name", "", "what it is called (required)")
	cmd.Flags().StringVar(&request.Plan, "plan", "", "one of the plans (required)")
	return cmd
}

func orgsShow(f *remote) *cobra.Command {
	return f.within("show", "Show the organisation, and how many keys it may have", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		var both struct {
			management.Organization
			Limits management.Limits `json:"limits"`
		}
		if err := org.do(cmd.Context(), http.MethodGet, "", nil, &both.Organization); err != nil {
			return err
		}
		if err := org.do(cmd.Context(), http.MethodGet, "/limits", nil, &both.Limits); err != nil {
			return err
		}
		return f.table(cmd, both, orgHeader+"\tACTIVE KEYS", [][]string{append(orgRow(both.Organization), fmt.Sprintf("%d of %d", both.Limits.Active, both.Limits.Max))})
	})
}

func orgsRename(f *remote) *cobra.Command {
	return f.within("rename NAME", "Give the organisation another name", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		org, err := org.asOf(cmd.Context(), "", nil)
		if err != nil {
			return err
		}
		return f.one(cmd, org, http.MethodPatch, "", management.EditOrganization{Name: args[0]})
	})
}

func orgsSetPlan(f *remote) *cobra.Command {
	var request management.SetPlan
	cmd := f.within("set-plan PLAN", "Move the organisation to a plan; a custom limit stays (operators)", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		request.Plan = args[0]
		if err := f.confirm(cmd, fmt.Sprintf("Move %s to %s?", f.org, request.Plan)); err != nil {
			return err
		}
		var answer management.PlanAnswer
		if err := f.cut(cmd, org, http.MethodPost, "/plan", request, &answer, &answer.Receipt); err != nil {
			return err
		}
		return f.print(cmd, answer, func(w io.Writer) {
			fmt.Fprintf(w, "%s "+f.did("is", "would be")+" on %s · %d of %d keys are active\n", answer.Organization.Name, answer.Organization.Plan, answer.Limits.Active, answer.Limits.Max)
			if answer.Receipt != nil {
				fmt.Fprintf(w, "No API access any more: its tokens are cut, %s\n", confirmed(*answer.Receipt))
			}
		})
	})
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")
	return cmd
}

func orgsSetLimit(f *remote) *cobra.Command {
	var request management.SetLimit
	cmd := f.within("set-limit KEYS|none", "Set a limit of active keys in place of the plan's, or take it away (support)", cobra.ExactArgs(1), func(cmd *cobra.Command, org *api, args []string) error {
		request.MaxKeys = management.Null[int]{Set: true, IsNull: true}
		if args[0] != "none" {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return usage("say how many keys, or none")
			}
			request.MaxKeys = management.Null[int]{Set: true, Value: n}
		}
		return f.one(cmd, org, http.MethodPost, "/limit", request)
	})
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why (required)")
	return cmd
}

func orgsRequestLimit(f *remote) *cobra.Command {
	var request management.RequestLimit
	cmd := f.within("request-limit", "Ask the operator for more active keys", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		return f.one(cmd, org, http.MethodPost, "/limit-requests", request)
	})
	cmd.Flags().IntVar(&request.MaxKeys, "keys", 0, "how many (required)")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why (required)")
	return cmd
}

func orgsAnswerLimit(f *remote) *cobra.Command {
	var request management.AnswerLimit
	var decline bool
	cmd := f.within("answer-limit", "Grant or decline the organisation's request for more keys (operators)", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		return f.one(cmd, org, http.MethodPost, "/limit-requests/answer", request)
	})
	cmd.Flags().IntVar(&request.Grant, "grant", 0, "the number that was asked for")
	cmd.Flags().BoolVar(&decline, "decline", false, "decline")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")
	cmd.MarkFlagsMutuallyExclusive("grant", "decline")
	cmd.MarkFlagsOneRequired("grant", "decline")
	return cmd
}

func (f *remote) showPolicy(cmd *cobra.Command, answer management.PolicyAnswer) error {
	return f.print(cmd, answer, func(w io.Writer) {
		p, life := answer.Policy, "any"
		if p.MaxLifetimeSeconds > 0 {
			life = (time.Duration(p.MaxLifetimeSeconds) * time.Second).String()
		}
		fmt.Fprintf(w, "Lifetime at most   %s\nNetworks           %s\nApproval           %t\nCreated by         %s\nLeaked secrets     %s\n",
			life, dash(strings.Join(p.Networks, ", ")), p.Approval, dash(strings.Join(p.Creators, ", ")), map[bool]string{false: "end", true: "are told only"}[p.KeepLeaked])
		if len(answer.Affected) > 0 {
			fmt.Fprintf(w, "%d active keys would not be admitted now:\n", len(answer.Affected))
			writeTable(w, keyHeader, keyRows(answer.Affected...))
		}
	})
}

func orgsPolicy(f *remote) *cobra.Command {
	return f.within("policy", "Show what the organisation demands of its keys", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		var answer management.PolicyAnswer
		if err := org.do(cmd.Context(), http.MethodGet, "/policy", nil, &answer); err != nil {
			return err
		}
		return f.showPolicy(cmd, answer)
	})
}

func orgsSetPolicy(f *remote) *cobra.Command {
	var life days
	var networks, creators []string
	var approval, keep bool
	cmd := f.within("set-policy", "Change what the organisation demands of its keys; --dry-run lists the keys it affects", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		var p management.EditPolicy
		seconds := int(time.Duration(life).Seconds())
		for flag, set := range map[string]func(){
			"max-lifetime": func() { p.MaxLifetimeSeconds = &seconds }, "network": func() { p.Networks = &networks },
			"creator": func() { p.Creators = &creators }, "approval": func() { p.Approval = &approval }, "keep-leaked": func() { p.KeepLeaked = &keep },
		} {
			if cmd.Flags().Changed(flag) {
				set()
			}
		}
		var answer management.PolicyAnswer
		if err := org.do(cmd.Context(), http.MethodPatch, "/policy", p, &answer); err != nil {
			return err
		}
		return f.showPolicy(cmd, answer)
	})
	flags := cmd.Flags()
	flags.Var(&life, "max-lifetime", "how long keys live at most, such as 90d; 0 is for ever")
	flags.Lookup("max-lifetime").DefValue = ""
	flags.StringSliceVar(&networks, "network", nil, "all networks from which keys may be used, repeatable")
	flags.StringSliceVar(&creators, "creator", nil, "all roles that may create keys, repeatable")
	flags.BoolVar(&approval, "approval", false, "keys that write wait for another Owner or Admin")
	flags.BoolVar(&keep, "keep-leaked", false, "a leaked secret goes on working; it is only told")
	cmd.MarkFlagsOneRequired("max-lifetime", "network", "creator", "approval", "keep-leaked")
	return cmd
}
