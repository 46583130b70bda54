package import Catalog

/// What somebody may do. A role has rights; where a right is about machines, it holds for those of the account's groups, or of a
/// person's places.
package enum AccountRight: String, Sendable, CaseIterable {
    /// States, lag, jobs, alerts, usage.
    case seeStates = "see-states"
    /// Names of files and directories, at any time.
    case seeNames = "see-names"
    /// Contents of files: preview, difference, download.
    case seeContents = "see-contents"
    /// Restores to the machine that the files came from: where they were, or into a folder.
    case restore
    /// Restores to another machine than the files came from.
    case restoreElsewhere = "restore-elsewhere"
    /// Backups now, pauses, jobs of maintenance.
    case operate
    /// Acknowledges and mutes alerts.
    case handleAlerts = "handle-alerts"
    /// Enrols, renames, approves and retires machines.
    case manageMachines = "manage-machines"
    case managePolicies = "manage-policies"
    case manageSettings = "manage-settings"
    /// Accounts of all but owners.
    case manageAccounts = "manage-accounts"
    /// Owners, and the vault's keys.
    case manageOwners = "manage-owners"
    case seeAudit = "see-audit"
    /// Their own files by the rights that they had on them.
    case seeOwn = "see-own"
}

extension AccountRight {
    /// For people.
    package var title: String {
        switch self {
        case .seeStates: "see how machines, jobs and alerts stand"
        case .seeNames: "see names of files"
        case .seeContents: "see and download files"
        case .restore: "restore to the machine of origin"
        case .restoreElsewhere: "restore to other places"
        case .operate: "back up now"
        case .handleAlerts: "acknowledge alerts"
        case .manageMachines: "enrol, approve and retire machines"
        case .managePolicies: "change policies"
        case .manageSettings: "change settings, begin jobs"
        case .manageAccounts: "look after accounts"
        case .manageOwners: "look after owners and the vault's keys"
        case .seeAudit: "read the audit log"
        case .seeOwn: "see and download their own files"
        }
    }
}

extension Account.Role {
    package var rights: Set<AccountRight> {
        switch self {
        // Files of one's own are those of persons: whoever sees all files has no use of it.
        case .owner: Set(AccountRight.allCases).subtracting([.seeOwn])
        case .administrator: Set(AccountRight.allCases).subtracting([.seeOwn, .manageOwners])
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
