package import Browsing
package import Catalog
import Client
package import Model
package import Recovery
package import Vault

/// Contents of files, to who may have them. Each is written into the audit log before its first byte.
extension Desk {
    /// A file as it was.
    package func download(
        _ path: TreePath, at point: PointSummary, of machine: ManagedMachine, _ files: MachineFiles
    ) throws -> ServerAnswer {
        guard person.mayRead else { throw ServerCore.notForYou }
        let place = try enterStreams()
        let file = try files.open(path, at: point)
        do {
            try note(
                "file.downloaded", to: path.displayText,
                ["machine": .string(machine.name), "point": .string(point.id.hex)])
        } catch {
            file.close()
            throw error
        }
        var answer = ServerAnswer(contentType: "application/octet-stream")
        answer.headers = [
            ("Content-Disposition", DownloadName.disposition(Array(path.name))), ("X-Content-Type-Options", "nosniff"),
        ]
        answer.stream = ServerAnswer.Stream(length: file.entry.size, place: place) { write in
            defer { file.close() }
            try file.read(watched(machine, write))
        }
        return answer
    }

    /// Names of one directory, or all of it when none are named, as an archive.
    package func archive(
        _ picked: [TreePath], of folder: TreePath, at point: PointSummary, of machine: ManagedMachine,
        _ files: MachineFiles, as format: PointArchive.Format, zone: TimeZoneRules
    ) throws -> ServerAnswer {
        guard person.mayRead else { throw ServerCore.notForYou }
        let place = try enterStreams()
        let make = try files.archive(picked, of: folder, at: point, as: format, zone: zone)
        let paths = picked.isEmpty ? [folder] : picked
        try note(
            "files.downloaded", to: folder.displayText,
            [
                "machine": .string(machine.name), "point": .string(point.id.hex), "format": .string(format.rawValue),
                "paths": .array(paths.prefix(100).map { .string($0.displayText) }),
                "count": .integer(Int64(paths.count)),
            ])
        let name = folder.isRoot ? Array(machine.name.utf8) : Array(folder.name)
        var answer = ServerAnswer(contentType: format.mediaType)
        answer.headers = [
            ("Content-Disposition", DownloadName.disposition(name + Array(".\(format.rawValue)".utf8))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        answer.stream = ServerAnswer.Stream(length: nil, place: place) { try make(watched(machine, $0)) }
        return answer
    }

    /// Writes down that contents of a file are shown, without being downloaded.
    ///
    /// - Parameter from: another point of which they are shown as well, to compare the two.
    package func noteShown(
        _ path: TreePath, at point: PointSummary, from: PointSummary? = nil, of machine: ManagedMachine
    ) throws {
        var detail: [String: JSONValue] = ["machine": .string(machine.name), "point": .string(point.id.hex)]
        if let from { detail["from"] = .string(from.id.hex) }
        try note("file.shown", to: path.displayText, detail)
    }

    /// What is sent goes on only as long as who asked may have it: looked at once in some megabytes.
    ///
    /// - Parameter machine: whose files they are; `nil` for what is no machine's.
    func watched(
        _ machine: ManagedMachine?, _ write: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) -> (UnsafeRawBufferPointer) throws -> Void {
        var unseen = 0
        return { bytes in
            unseen += bytes.count
            if unseen > Self.lookedAtAfter {
                unseen = 0
                try requireStill(machine)
            }
            try write(bytes)
        }
    }

    private static let lookedAtAfter = 8 << 20

    /// Throws `denied` when they may not have any more what they might when they asked.
    private func requireStill(_ machine: ManagedMachine?) throws {
        let now = try personNow()
        let hasGroups = now.groups.map { now in person.groups.map(now.isSuperset) ?? false } ?? true
        guard now.rights.isSuperset(of: person.rights), hasGroups, Set(now.places).isSuperset(of: person.places) else {
            throw ServerCore.notForYou
        }
        guard let machine else { return }
        guard let kept = try core.catalog.machine(machine.id), now.covers(kept) else { throw ServerCore.notForYou }
    }

    /// A place for a body that is made while it is sent. Throws `overloaded` when there is none.
    func enterStreams() throws -> Turnstile.Place {
        guard let place = core.streams.enter(person.account?.hex ?? person.name) else {
            throw HoldfastError(
                .overloaded, "Too many downloads go on at once. Try again when one of them is through.",
                context: ["retry_after": "10"], isTemporary: true)
        }
        return place
    }
}
