import Server

/// The states that people see, and how serious they are.
enum MachineState: String, CaseIterable, Hashable {
    case atRisk = "at-risk"
    case lost = "offline-too-long"
    case offline
    case waiting
    case never
    case catchingUp = "catching-up"
    case issues
    case beginning = "first-backup"
    case paused
    case asleep
    case protected
    case retired

    init(_ condition: MachineCondition) {
        switch condition {
        case .protected: self = .protected
        case .behind: self = .catchingUp
        case .warnings: self = .issues
        case .problem: self = .atRisk
        case .asleep: self = .asleep
        case .beginning: self = .beginning
        case .paused: self = .paused
        case .silent: self = .offline
        case .lost: self = .lost
        case .unreported: self = .never
        case .waiting: self = .waiting
        case .retired: self = .retired
        }
    }

    var word: String {
        switch self {
        case .protected: "Protected"
        case .catchingUp: "Catching up"
        case .issues: "Completed with issues"
        case .atRisk: "At risk"
        case .beginning: "First backup"
        case .paused: "Paused"
        case .offline: "Offline"
        case .lost: "Offline too long"
        case .asleep: "Asleep"
        case .never: "Never backed up by an agent"
        case .waiting: "Waiting for approval"
        case .retired: "Retired"
        }
    }

    var colour: String {
        switch self {
        case .protected: "good"
        case .catchingUp, .issues, .beginning: "warn"
        case .atRisk, .lost: "bad"
        case .waiting: "ask"
        case .offline, .paused, .asleep, .never, .retired: "grey"
        }
    }

    /// The most serious first.
    var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }

    /// Not protected now, though nothing is known to be wrong with it.
    var isExposed: Bool { [.paused, .catchingUp, .beginning].contains(self) }

    var needsSomebody: Bool { [.atRisk, .lost, .waiting, .offline, .never].contains(self) }
}
