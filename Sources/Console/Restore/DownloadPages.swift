import Catalog
import Client
import Model
import Recovery
import Server
import Vault

/// Files as they were, to the browser.
enum DownloadPages {
    static let all: [Page] = [
        .get("/machines/{machine}/download", "A file as it was at a point.", .right(.seeContents), file),
        .post("/machines/{machine}/archive", .right(.seeContents), archive),
    ]

    private struct ReaderBox: @unchecked Sendable {
        // Sound: the one thread that streams uses it.
        let reader: PointReader
    }

    @Sendable private static func file(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else { throw missing }
        let reader = try visit.site.shelf.fresh(place.point.id)
        guard let entry = try reader.entry(of: place.path), entry.kind == .regular else {
            reader.close()
            throw missing
        }
        if entry.remarks.contains(.contentMissing) {
            reader.close()
            throw HoldfastError(
                .notFound, "Of this version only name and mode are kept: the machine could not read the file then.")
        }
        try note("file.downloaded", place, place.path.displayText, visit)
        let box = ReaderBox(reader: reader)
        var answer = ServerAnswer(contentType: "application/octet-stream")
        answer.headers = [("Content-Disposition", disposition(Array(place.path.name)))]
        answer.stream = ServerAnswer.Stream(length: entry.size) { write in
            defer { box.reader.close() }
            try box.reader.read(entry) { bytes in
                try write(bytes)
                return true
            }
        }
        return answer
    }

    private static let missing = HoldfastError(.notFound, "There is no such file in this point.")

    private static func note(_ what: String, _ place: RestorePlace, _ subject: String, _ visit: Visit) throws {
        try visit.site.accounts.audit.note(
            what, by: visit.visitor?.account.name ?? "", from: visit.request.address, to: subject,
            ["machine": .string(place.machine.name), "point": .string(place.point.id.hex)])
    }

    // MARK: ZIP

    /// Paths that may be selected at once.
    private static let mostPaths = 5_000

    @Sendable private static func archive(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        guard let id = PointID(hex: visit.form.text("point")),
            let point = try visit.site.shelf.points(of: machine.id).first(where: { $0.id == id })
        else { throw HoldfastError(.notFound, "This point is not kept any more. Choose another time and try again.") }
        let folder = try RestorePlace.path(visit.form)
        let picked = try visit.form.all("pick").map { text -> TreePath in
            guard let path = Hex.decode(String(decoding: text, as: UTF8.self)).flatMap({ TreePath(normalizing: $0) }),
                folder.contains(path)
            else { throw HoldfastError(.usage, "One of the selected paths is none of this directory.") }
            return path
        }
        guard picked.count <= mostPaths else {
            throw HoldfastError(
                .tooLarge, "At most \(mostPaths) names can be selected at once. Select the directory instead.")
        }
        let paths = picked.isEmpty ? [folder] : picked
        let base = picked.isEmpty ? folder.parent ?? .root : folder
        try visit.site.accounts.audit.note(
            "files.downloaded", by: visit.visitor?.account.name ?? "", from: visit.request.address,
            to: folder.displayText,
            [
                "machine": .string(machine.name), "point": .string(id.hex),
                "paths": .array(paths.prefix(100).map { .string($0.displayText) }),
                "count": .integer(Int64(paths.count)),
            ])
        let box = ReaderBox(reader: try visit.site.shelf.fresh(point.id))
        let zone = visit.zone
        var answer = ServerAnswer(contentType: "application/zip")
        let name = folder.isRoot ? Array(machine.name.utf8) : Array(folder.name)
        answer.headers = [("Content-Disposition", disposition(name + Array(".zip".utf8)))]
        answer.stream = ServerAnswer.Stream(length: nil) { write in
            defer { box.reader.close() }
            try PointArchive(reader: box.reader, base: base, zone: zone).write(paths, write)
        }
        return answer
    }

    /// RFC 6266: a plain name for old browsers, the real one for others.
    static func disposition(_ name: [UInt8]) -> String {
        let plain = name.map {
            (0x20..<0x7F).contains($0) && ![0x22, 0x5C, 0x25, 0x2F].contains($0) ? $0 : UInt8(ascii: "_")
        }
        return
            "attachment; filename=\"\(String(decoding: plain, as: UTF8.self))\"; filename*=UTF-8''\(Address.encode(name))"
    }
}
