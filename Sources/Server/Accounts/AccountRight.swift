package import Catalog

/// What somebody may do. A role has rights; where a right is about machines, it holds for those of the account's groups, or of a
/// person's places.
package enum AccountRight: Sendable, CaseIterable {
    /// States, lag, jobs, alerts, usage.
    case seeStates
    /// Names of files and directories, at any time.
    case seeNames
    /// Contents of files: preview, difference, download.
    case seeContents
    /// Restores to the machine that the files came from.
    case restore
    /// Restores to another machine or another place.
    case restoreElsewhere
    /// Backups now, pauses, jobs of maintenance.
    case operate
    /// Acknowledges and mutes alerts.
    case handleAlerts
    /// Enrols, renames, approves and retires machines.
    case manageMachines
    case managePolicies
    case manageSettings
    /// Accounts of all but owners.
    case manageAccounts
    /// Owners, and the vault's keys.
    case manageOwners
    case seeAudit
    /// Their own files by the rights that they had on them.
    case seeOwn
}

extension Account.Role {
    package var rights: Set<AccountRight> {
        switch self {
        case .owner: Set(AccountRight.allCases)
        case .administrator: Set(AccountRight.allCases).subtracting([.manageOwners])
        case .operator: [.seeStates, .seeNames, .seeContents, .restore, .operate, .handleAlerts]
        case .helpDesk: [.seeStates, .seeNames, .restore]
        case .auditor: [.seeStates, .seeAudit]
        case .person: [.seeOwn]
        }
    }

    /// For people.
    package var title: String {
        switch self {
        case .owner: "Owner"
        case .administrator: "Administrator"
        case .operator: "Operator"
        case .helpDesk: "Help desk"
        case .auditor: "Auditor"
        case .person: "Person"
        }
    }

    package var meaning: String {
        switch self {
        case .owner: "Everything, other owners and the vault's keys included."
        case .administrator: "Everything but owners and the vault's keys."
        case .operator: "Looks after the machines of some groups: backs up, restores, handles alerts."
        case .helpDesk: "Restores for others, without seeing contents."
        case .auditor: "Sees states and the audit log; changes nothing, and sees no files."
        case .person: "Gets back their own files, and sees nothing else."
        }
    }
}
