package import Model
package import Vault

/// What of a machine somebody may see by the rights that they had themselves.
package struct Sight: Hashable, Sendable {
    /// A part of the machine that is theirs, and who they are there.
    package struct Place: Hashable, Sendable {
        package var path: TreePath
        package var user: SystemUser

        package init(path: TreePath, user: SystemUser) {
            self.path = path
            self.user = user
        }
    }

    package var places: [Place]

    package init(places: [Place]) { self.places = places }

    /// Whether a path lies in one of the places at all.
    package func covers(_ path: TreePath) -> Bool { places.contains { $0.path.contains(path) } }
}

/// A point as somebody sees it. What they could not read then is not there: it has no entry, stands in no list and counts nowhere.
///
/// Not for use from several threads at once.
package final class PointView {
    package let reader: PointReader
    private let sight: Sight?
    private var users: [SystemUser: CapturedUser?] = [:]
    /// Whether a user may pass into a directory and all above it.
    private var passable: [Passage: Bool] = [:]
    /// Whether they may list a directory.
    private var listable: [TreePath: Bool] = [:]

    private struct Passage: Hashable {
        var user: SystemUser
        var directory: TreePath
    }

    /// Directories that are remembered.
    private static let most = 100_000

    /// - Parameter sight: `nil` for who sees everything.
    package init(_ reader: PointReader, sight: Sight?) {
        self.reader = reader
        self.sight = sight
    }

    // MARK: Entries

    /// The entry of a path; `nil` when there is none, and in the same way when it is hidden.
    package func entry(of path: TreePath) throws -> Entry? {
        guard let sight else { return try reader.entry(of: path) }
        // In this order nothing below a directory that is closed is ever looked for: how long it takes says nothing of it.
        for place in sight.places where place.path.contains(path) {
            if let above = path.parent, try !passes(place.user, above) { continue }
            guard let entry = try reader.entry(of: path) else { return nil }
            if try isOpen(entry, to: place.user) { return entry }
        }
        return nil
    }

    /// The entry of a path that somebody who looks around would come upon; `nil` for any other.
    func entryComeUpon(_ path: TreePath) throws -> Entry? {
        guard let entry = try entry(of: path), try comesUpon(path, entry) else { return nil }
        return entry
    }

    /// Whether an entry of this point is shown.
    package func shows(_ path: TreePath, _ entry: Entry) throws -> Bool {
        guard let sight else { return true }
        return try sight.places.contains { place in
            guard place.path.contains(path) else { return false }
            if let above = path.parent, try !passes(place.user, above) { return false }
            return try isOpen(entry, to: place.user)
        }
    }

    /// Whether somebody who looks around would come upon an entry of this point: it is shown, and the directory that it is in can be
    /// listed. What is in a directory that can be entered and not listed is there for who knows its name alone.
    package func comesUpon(_ path: TreePath, _ entry: Entry) throws -> Bool {
        guard let sight else { return true }
        guard try shows(path, entry) else { return false }
        guard let above = path.parent, !sight.places.contains(where: { $0.path == path }) else { return true }
        if let known = listable[above] { return known }
        let isListable = try mayList(above)
        if listable.count >= Self.most { listable = [:] }
        listable[above] = isListable
        return isListable
    }

    /// Whether somebody could tell that something is not in a directory, which may be gone itself: they could pass to where it would be.
    func couldMiss(in directory: TreePath) throws -> Bool {
        guard let sight else { return true }
        var there = directory
        while try reader.entry(of: there) == nil, let above = there.parent { there = above }
        return try sight.places.contains { place in
            try (place.path.contains(directory) || place.path.parent == directory) && passes(place.user, there)
        }
    }

    /// At most `limit` names of a directory that are shown, in their order, and whether there are more.
    package func list(
        _ directory: TreePath, after name: [UInt8]? = nil, limit: Int
    ) throws -> (entries: [(path: TreePath, entry: Entry)], isMore: Bool) {
        var found: [(path: TreePath, entry: Entry)] = []
        guard try mayList(directory) else { return (found, false) }
        var isMore = false
        try reader.tree.list(directory, after: name) { item in
            let path = directory.appending(item.name)
            let entry = try item.entry()
            guard try shows(path, entry) else { return true }
            isMore = found.count == limit
            if !isMore { found.append((path, entry)) }
            return !isMore
        }
        return (found, isMore)
    }

    // MARK: Rights

    func mayList(_ directory: TreePath) throws -> Bool {
        guard let sight else { return true }
        return try sight.places.contains { place in
            guard place.path.contains(directory), try passes(place.user, directory),
                let entry = try reader.entry(of: directory)
            else { return false }
            return try grants(.read, entry, place.user)
        }
    }

    /// What a name stands for could be used: a file read, a directory passed through.
    private func isOpen(_ entry: Entry, to user: SystemUser) throws -> Bool {
        switch entry.kind {
        case .directory: try grants(.search, entry, user)
        // A link has no rights of its own.
        case .symbolicLink: try captured(user) != nil
        default: try grants(.read, entry, user)
        }
    }

    private func passes(_ user: SystemUser, _ directory: TreePath) throws -> Bool {
        // From the top down: below a closed directory nothing is looked for.
        var waiting: [TreePath] = []
        var at: TreePath? = directory
        while let path = at {
            if let known = passable[Passage(user: user, directory: path)] {
                if !known { return false }
                break
            }
            waiting.append(path)
            at = path.parent
        }
        for path in waiting.reversed() {
            let entry = try reader.entry(of: path)
            let isPassable = try entry.map { try $0.kind == .directory && grants(.search, $0, user) } ?? false
            if passable.count >= Self.most { passable = [:] }
            passable[Passage(user: user, directory: path)] = isPassable
            if !isPassable { return false }
        }
        return true
    }

    private func grants(_ right: AccessCheck.Right, _ entry: Entry, _ user: SystemUser) throws -> Bool {
        guard let captured = try captured(user) else { return false }
        return AccessCheck.grants(right, on: entry, attributes: try reader.attributes(of: entry), to: captured)
    }

    private func captured(_ user: SystemUser) throws -> CapturedUser? {
        if let known = users[user] { return known }
        let found = try CapturedUser.find(user, in: reader)
        users[user] = .some(found)
        return found
    }
}
