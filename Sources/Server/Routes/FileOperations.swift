import Browsing
import Catalog
import Client
import Model
import Recovery
import Vault

/// Files of a machine at any time, for people: what the console's restore pages show, for programs.
///
/// A self-service account sees what that person could read at the time; everything else is not there for it.
enum FileOperations {
    private static let base = "/api/v1/machines/{machine}"
    private static let names: Operation.Access = .personWithAny([.seeNames, .seeContents, .seeOwn])
    private static let contents: Operation.Access = .personWithAny([.seeContents, .seeOwn])
    private static let gone = (
        status: 404, meaning: "There is no such machine, point or path, or it is not for who asks to see."
    )
    private static let when: [(name: String, meaning: String)] = [
        ("point", "The id of a point; else the newest at the time `at`, else the newest of all."),
        ("at", "A time in words or figures, for example `yesterday 18:00` or RFC 3339."),
    ]
    private static let path = (name: "path", meaning: "From the machine's root, percent-encoded bytes.")

    static let all: [Operation] = [
        Operation(
            "GET", base, "A machine, and how it is.", tag: "machines", access: .person(.seeStates),
            response: .json("Machine"), failures: [gone]
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.seeStates)
            let machine = try desk.machine(request.parameters["machine"])
            return .json(JSONValue.object(MachineOperations.describe(machine, core)).encoded())
        },
        Operation(
            "GET", base + "/points", "The points of a machine that can be restored from, newest first.", tag: "files",
            access: names,
            query: [("before", "Only those before this point."), ("limit", "At most so many; 1,000 at most.")],
            response: .json("MachinePoints"), failures: [gone]
        ) { core, request in
            let files = try files(core, request)
            let limit = try request.number("limit", in: 1...1_000) ?? 200
            var points = files.points[...]
            if let before = request.query["before"] {
                let last = try files.point(before)
                points = points.prefix { $0.id != last.id }
            }
            return .json(
                JSONValue.object([
                    "points": .array(points.suffix(limit).reversed().map { describe($0) }),
                    "more": .bool(points.count > limit),
                ]).encoded())
        },
        Operation(
            "GET", base + "/files", "A directory as it was, in pages, with what was deleted before if that is wanted.",
            tag: "files", access: names,
            query: when + [
                path, ("after", "`next` of the page before, as it is."),
                ("limit", "At most so many; 5,000 at most."), ("deleted", "1: also what earlier points had there."),
            ], response: .json("FileList"), failures: [gone]
        ) { core, request in
            let files = try files(core, request)
            let path = try Self.path(request)
            let point = try point(files, core, request, of: path)
            let limit = try request.number("limit", in: 1...5_000) ?? 500
            let (after, isWithDeleted) = (request.fields.bytes("after"), request.query["deleted"] == "1")
            let listing =
                isWithDeleted
                ? try files.listingWithDeleted(of: path, at: point, after: after, limit: limit)
                : try files.listing(of: path, at: point, after: after, limit: limit)
            guard listing.entry != nil else { throw MachineFiles.fileMissing }
            var fields: [String: JSONValue] = [
                "point": describe(point), "more": .bool(listing.isMore), "items": .array(listing.items.map(describe)),
            ]
            if let entry = listing.entry { fields["entry"] = describe(MachineFiles.Item(path: path, entry: entry)) }
            if let next = listing.next { fields["next"] = .string(Address.encode(next)) }
            if isWithDeleted { fields["deleted"] = .array(listing.deleted.map(describe)) }
            return .json(JSONValue.object(fields).encoded())
        },
        Operation(
            "GET", base + "/versions", "When a file changed and how, newest first.", tag: "files", access: names,
            query: [path, ("limit", "At most so many; 1,000 at most.")], response: .json("VersionList"),
            failures: [gone]
        ) { core, request in
            let files = try files(core, request)
            let limit = try request.number("limit", in: 1...1_000) ?? 200
            let path = try Self.path(request)
            let versions = try files.versions(of: path, limit: limit).map { version in
                var fields: [String: JSONValue] = [
                    "point": describe(version.point), "change": .string(version.change.rawValue),
                ]
                if let entry = version.entry { fields["entry"] = describe(MachineFiles.Item(path: path, entry: entry)) }
                return JSONValue.object(fields)
            }
            return .json(JSONValue.object(["versions": .array(versions)]).encoded())
        },
        Operation(
            "GET", base + "/names", "Names that contain all words, at any time.", tag: "files", access: names,
            query: when + [path, ("q", "Words; one of them has two letters at least.")], response: .json("NameList"),
            failures: [gone]
        ) { core, request in
            let files = try files(core, request)
            let words = request.fields.text("q").prefix(200).split(whereSeparator: \.isWhitespace).map(String.init)
            guard words.contains(where: { $0.utf8.count >= 2 }) else {
                throw HoldfastError(.usage, "q has two letters or more of a name")
            }
            let path = try Self.path(request)
            let point = try point(files, core, request, of: path)
            let found = try files.search(words, below: path, at: point, limit: 200)
            let names = found.names.map { path, item -> JSONValue in
                if let item { return describe(item) }
                var fields: [String: JSONValue] = [:]
                fields.setPath("path", path)
                return .object(fields)
            }
            return .json(
                JSONValue.object([
                    "point": describe(point), "names": .array(names), "more": .bool(found.isMore),
                    "partial": .bool(found.isPartial),
                ]).encoded())
        },
        Operation(
            "GET", base + "/content", "A file as it was.", tag: "files", access: contents, query: when + [path],
            response: .binary("the file"), failures: [gone]
        ) { core, request in try content(core, request) },
        Operation(
            "GET", base + "/preview", "The first 64 KiB of a text, or a picture, as it was.", tag: "files",
            access: contents, query: when + [path], response: .binary("text in UTF-8, or a picture"),
            failures: [gone, (415, "It is neither text nor a picture that browsers decode.")]
        ) { core, request in try preview(core, request) },
        Operation(
            "GET", base + "/difference", "What changed in a text between two points, line by line.", tag: "files",
            access: contents, query: when + [path, ("from", "The id of the earlier point.")],
            response: .json("Difference"),
            failures: [gone, (415, "One of the two is no text, or longer than 256 KiB.")]
        ) { core, request in
            let desk = try core.desk(request)
            let machine = try desk.machine(request.parameters["machine"])
            let files = try desk.files(of: machine)
            let path = try Self.path(request)
            let point = try point(files, core, request, of: path)
            let from = try files.point(request.query["from"] ?? "")
            guard let (old, new) = try files.texts(path, from: from, to: point) else { return notShown }
            try desk.noteShown(path, at: point, from: from, of: machine)
            let lines = TextDifference.lines(old, new).map { line -> JSONValue in
                switch line {
                case .same(let text): .object(["kind": .string("same"), "text": .string(text)])
                case .removed(let text): .object(["kind": .string("removed"), "text": .string(text)])
                case .added(let text): .object(["kind": .string("added"), "text": .string(text)])
                case .skipped(let count): .object(["kind": .string("skipped"), "count": .integer(Int64(count))])
                }
            }
            return .json(JSONValue.object(["lines": .array(lines)]).encoded())
        },
        Operation(
            "POST", base + "/archive",
            "Several files or directories as a ZIP or tar.zst archive, made while it is sent.",
            tag: "files", access: contents, request: .json("ArchiveRequest"), response: .binary("the archive"),
            failures: [gone]
        ) { core, request in try archive(core, request) },
    ]

    // MARK: What is asked for

    private static func files(_ core: ServerCore, _ request: ServerRequest) throws -> MachineFiles {
        let desk = try core.desk(request)
        return try desk.files(of: try desk.machine(request.parameters["machine"]))
    }

    /// The newest one is the newest that protects the path, where there are points of other paths as well.
    private static func point(
        _ files: MachineFiles, _ core: ServerCore, _ request: ServerRequest, of path: TreePath
    ) throws -> PointSummary {
        let fields = request.fields
        if fields.bytes("point") != nil { return try files.point(fields.text("point")) }
        if fields.bytes("at") != nil {
            return try files.point(at: fields.text("at"), of: path, now: core.time, zone: SystemZones.current)
        }
        guard let newest = files.points(of: path).last else { throw MachineFiles.pointGone }
        return newest
    }

    private static func path(_ request: ServerRequest) throws -> TreePath {
        guard let path = TreePath(normalizing: request.fields.bytes("path") ?? []) else {
            throw HoldfastError(.usage, "path is no path: it has “..” in it, or a name that is too long")
        }
        return path
    }

    private static let notShown: ServerAnswer = {
        var answer = ServerAnswer(status: 415, contentType: Problem.contentType)
        answer.body = Problem.encode(HoldfastError(.usage, "This cannot be shown here; download it instead."))
        return answer
    }()

    // MARK: Contents

    private static func content(_ core: ServerCore, _ request: ServerRequest) throws -> ServerAnswer {
        let desk = try core.desk(request)
        let machine = try desk.machine(request.parameters["machine"])
        let files = try desk.files(of: machine)
        let path = try Self.path(request)
        let point = try point(files, core, request, of: path)
        return try desk.download(path, at: point, of: machine, files)
    }

    private static func preview(_ core: ServerCore, _ request: ServerRequest) throws -> ServerAnswer {
        let desk = try core.desk(request)
        let machine = try desk.machine(request.parameters["machine"])
        let files = try desk.files(of: machine)
        let path = try Self.path(request)
        let point = try point(files, core, request, of: path)
        guard let (entry, head) = try files.beginning(of: path, at: point, limit: 64 << 10), entry.kind == .regular
        else { throw MachineFiles.fileMissing }
        var answer: ServerAnswer
        if Picture.type(of: head) != nil, let (type, bytes) = try files.picture(path, at: point) {
            answer = ServerAnswer(contentType: type, body: bytes)
        } else if let text = TextPreview.text(head, isWhole: UInt64(head.count) == entry.size) {
            answer = ServerAnswer(contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
        } else {
            return notShown
        }
        try desk.noteShown(path, at: point, of: machine)
        answer.headers = [("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox")]
        return answer
    }

    private static func archive(_ core: ServerCore, _ request: ServerRequest) throws -> ServerAnswer {
        let desk = try core.desk(request)
        let machine = try desk.machine(request.parameters["machine"])
        let files = try desk.files(of: machine)
        let fields = try JSONFields(parsing: request.body, document: "the archive")
        func path(_ text: String) throws -> TreePath {
            guard
                let path = text.hasPrefix("hex:")
                    ? Hex.decode(String(text.dropFirst(4))).flatMap({
                        TreePath(normalizing: $0)
                    }) : TreePath(text)
            else { throw HoldfastError(.usage, "\(text) is not a path") }
            return path
        }
        let format = try fields.has("format") ? fields.string("format") : PointArchive.Format.zip.rawValue
        guard let format = PointArchive.Format(rawValue: format) else {
            throw HoldfastError(.usage, "format is zip or tar.zst")
        }
        let folder = try fields.has("folder") ? path(fields.string("folder")) : .root
        let paths =
            try fields.has("paths")
            ? fields.strings("paths", atMost: MachineFiles.mostPaths).map(path) : []
        let wanted = paths.first ?? folder
        var point = files.points(of: wanted).last
        if fields.has("point") {
            point = try files.point(try fields.string("point"))
        } else if fields.has("at") {
            point = try files.point(
                at: try fields.string("at"), of: wanted, now: core.time, zone: SystemZones.current)
        }
        guard let point else { throw MachineFiles.pointGone }
        return try desk.archive(paths, of: folder, at: point, of: machine, files, as: format, zone: SystemZones.current)
    }

    // MARK: Descriptions

    static func describe(_ point: PointSummary) -> JSONValue {
        .object([
            "id": .string(point.id.hex), "time": .integer(point.effective.nanoseconds),
            "kind": .string(point.kind == .continuous ? "continuous" : "scheduled"),
            "partial": .bool(point.isPartial), "damaged": .bool(point.condition == .damaged),
            "kept": .bool(point.isPinned || point.isHeld),
        ])
    }

    private static func describe(_ item: MachineFiles.Item) -> JSONValue {
        let entry = item.entry
        let kind =
            switch entry.kind {
            case .regular: "file"
            case .directory: "directory"
            case .symbolicLink: "link"
            case .characterDevice, .blockDevice: "device"
            case .fifo: "pipe"
            case .socket: "socket"
            }
        var fields: [String: JSONValue] = [
            "kind": .string(kind), "size": .integer(Int64(clamping: entry.size)),
            "modified": .integer(entry.mtime.timestamp.nanoseconds), "mode": .string(String(entry.mode, radix: 8)),
            "uid": .integer(Int64(entry.uid)), "gid": .integer(Int64(entry.gid)),
            "content_missing": .bool(entry.remarks.contains(.contentMissing)),
        ]
        fields.setPath("path", item.path)
        fields["user"] = .string(String(decoding: entry.user, as: UTF8.self))
        fields["group"] = .string(String(decoding: entry.group, as: UTF8.self))
        if entry.kind == .symbolicLink { fields["target"] = .string(TreePath.display(entry.target)) }
        if let point = item.lastPoint { fields["last_point"] = describe(point) }
        return .object(fields)
    }
}

extension [String: JSONValue] {
    /// A path as text, and when its bytes are not UTF-8 as hexadecimal digits too.
    mutating func setPath(_ key: String, _ path: TreePath) {
        if let text = String(validating: path.bytes, as: UTF8.self) {
            self[key] = .string("/" + text)
        } else {
            self[key] = .string(path.displayText)
            self[key + "_hex"] = .string(Hex.encode([UInt8(ascii: "/")] + path.bytes))
        }
    }
}
