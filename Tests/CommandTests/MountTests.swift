import Foundation
import TestSupport
import Testing

@Suite("A mounted vault", .serialized, .enabled(if: MountPlace.isPossible))
struct MountTests {
    /// Odd names, every kind of file, and contents in one part and in many.
    private func makeFiles(_ place: MountPlace) throws {
        let script = """
            cd '\(place.files)'; set -e
            mkdir -p many "deep/$(printf '\\376') dir"
            printf plain > plain; ln plain deep/hard; ln plain hard2; ln -s plain link; ln -s "$(printf '/gone/\\377')" dangling
            printf x > "$(printf '\\377\\376bad')"; printf y > "$(printf 'new\\nline')"; printf z > 'back\\slash'; : > empty
            printf n > "$(printf 'n%.0s' {1..255})"
            for i in {1..1500}; do echo "file $i" > many/$i; done
            head -c 9000000 /dev/urandom > big; head -c 300000 /dev/urandom > "deep/$(printf '\\376') dir/part"
            truncate -s 40M sparse; head -c 70000 /dev/urandom | dd of=sparse bs=4096 seek=300 conv=notrunc status=none
            truncate -s 30M hole
            mkfifo fifo; chmod 4751 big; chmod 1777 many; touch -d '2001-02-03 04:05:06.123456789Z' big; touch -d '1965-01-01Z' deep
            setfattr -n user.one -v 'value' plain; setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\\0' v)" plain
            setfacl -m u:daemon:rw plain; setfacl -d -m g:daemon:rx deep
            \(MountPlace.isRoot ? "mknod null c 1 3; mknod disk b 7 9; chown 1234:4321 big; setfattr -n trusted.t -v t big" : ":")
            """
        let made = MountPlace.shell(script)
        #expect(made.status == 0, "\(made.text)")
    }

    @Test("every file is what it was: kinds, names, contents, owners, modes, times, links, attributes, lists of access")
    func whole() throws {
        let place = try MountPlace()
        defer { place.close() }
        try makeFiles(place)
        try place.backup()
        let mounted = try place.run("mount", place.mount, "--background")
        #expect(mounted.text.contains("is mounted on \(place.mount), read-only"), "\(mounted.text)")
        let latest = try place.latest()
        let compared = MountPlace.shell(
            "rsync -aHAXn --itemize-changes --checksum --delete '\(place.files)/' '\(latest)/' 2>&1")
        #expect(compared.status == 0 && compared.text.isEmpty, "\(compared.text)")
        #expect(try FileTree(place.files) == FileTree(latest))
        // As programs that copy see it: links stay links, holes stay holes.
        let copied = MountPlace.shell(
            """
            set -e; cd '\(place.fixture.directory.path)'; mkdir out; cp -a '\(latest)' out/cp
            rsync -aHAXn --itemize-changes --checksum --delete files/ out/cp/; mkdir out/tar
            tar -C '\(latest)' -cS . | tar -C out/tar -xp; test out/tar/plain -ef out/tar/hard2
            find '\(latest)' | wc -l; find files | wc -l; du -k out/cp/hole out/cp/sparse | cut -f1 | paste -sd' '
            """)
        let lines = copied.text.split(separator: "\n").map(String.init)
        #expect(copied.status == 0 && lines.count >= 3, "\(copied.text)")
        if lines.count >= 3 {
            #expect(lines[lines.count - 3] == lines[lines.count - 2], "\(copied.text)")
            let used = lines[lines.count - 1].split(separator: " ").compactMap { Int($0) }
            #expect(used.allSatisfy { $0 < 1_000 }, "holes were filled: \(used)")
        }
        let table = MountPlace.shell("grep ' \(place.mount) ' /proc/mounts").text
        for word in ["fuse.holdfast", "ro", "nosuid", "nodev"] { #expect(table.contains(word), "\(table)") }
        #expect(!table.contains("allow_other"), "\(table)")
        #expect(MountPlace.shell("touch '\(latest)/new' || touch '\(place.mount)/new'").text.contains("Read-only"))
        if MountPlace.isRoot { #expect(MountPlace.shell("cat '\(latest)/null'").status != 0, "a device was opened") }
        #expect(place.unmount() == 0)
        #expect(place.wait { MountPlace.names(place.mount)?.isEmpty == true })
    }

    @Test("any part of a file can be read at any time, by many at once, and holes are where they were")
    func anyPart() throws {
        let place = try MountPlace()
        defer { place.close() }
        let seed = UInt64.random(in: 1...(1 << 40))
        print("any part: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        // Many parts, of which some are holes and some come again.
        var content = Data()
        for _ in 0..<60 {
            switch random.next() % 4 {
            case 0: content.append(Data(count: Int(random.next() % 2_000_000)))
            case 1 where content.count > 3_000_000: content.append(content.subdata(in: 1_000_000..<2_500_000))
            default: content.append(Data(random.bytes(Int(random.next() % 900_000))))
            }
        }
        try content.write(to: URL(fileURLWithPath: place.files + "/parts"))
        #expect(MountPlace.shell("fallocate -d '\(place.files)/parts'").status == 0)
        try place.backup()
        try place.start(["--cache", "16MiB"])
        let path = try place.latest() + "/parts"
        let whole = content
        DispatchQueue.concurrentPerform(iterations: 4) { worker in
            var random = SeededGenerator(seed: seed &+ UInt64(worker) &* 77)
            let file = open(path, O_RDONLY)
            defer { close(file) }
            // One reads everything in order, one backwards, the others anywhere.
            var position = worker == 0 ? 0 : whole.count
            var buffer = [UInt8](repeating: 0, count: 1 << 20)
            for _ in 0..<400 {
                let length = Int(random.next() % UInt64(worker == 0 ? 1 << 20 : 1 << (4 + random.next() % 17))) + 1
                if worker == 1 { position = max(0, position - length) }
                if worker > 1 { position = Int(random.next() % UInt64(whole.count + 5_000)) }
                let got = pread(file, &buffer, length, off_t(position))
                let expected = max(0, min(length, whole.count - position))
                let isSame = got == expected && (got <= 0 || Data(buffer[..<got]) == whole[position..<(position + got)])
                if !isSame { Issue.record("seed \(seed), worker \(worker): \(length) bytes at \(position): \(got)") }
                if worker == 0 { position = position + got >= whole.count ? 0 : position + got }
            }
        }
        // SEEK_DATA is 3, SEEK_HOLE 4. Outside of what is said to be data there are zeros, and not everything is said to be data.
        let file = open(path, O_RDONLY)
        defer { close(file) }
        var hole: off_t = 0
        var holes = 0
        while hole < off_t(content.count) {
            var data = lseek(file, hole, 3)
            if data < 0 {
                #expect(errno == ENXIO)
                data = off_t(content.count)
            }
            #expect(content[Int(hole)..<Int(data)].allSatisfy { $0 == 0 })
            holes += Int(data - hole)
            if data == off_t(content.count) { break }
            hole = lseek(file, data, 4)
            #expect(hole > data)
        }
        #expect(holes > 0)
        place.signal(SIGINT)
        #expect(place.status() == 0, "\(place.warned)")
        #expect(MountPlace.names(place.mount)?.isEmpty == true)
    }

    @Test("new points appear, removed ones go, and what is open of them can be read to its end")
    func points() throws {
        let place = try MountPlace()
        defer { place.close() }
        func write(_ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: place.files + "/a.txt"))
        }
        var random = SeededGenerator(seed: 4)
        let bytes = Data(random.bytes(12 << 20))
        try bytes.write(to: URL(fileURLWithPath: place.files + "/old"))
        try write("first")
        try place.backup()
        try place.start()
        let first = try #require(try place.times().first)
        let held = open(try place.machine() + "/" + first + place.files + "/old", O_RDONLY)
        #expect(held >= 0)
        sleep(1)
        try FileManager.default.removeItem(atPath: place.files + "/old")
        try write("second")
        try place.backup()
        #expect(place.wait(8) { (try? place.times().count) == 2 })
        #expect(try String(contentsOfFile: try place.latest() + "/a.txt", encoding: .utf8) == "second")
        let old = try place.machine() + "/" + first + place.files + "/a.txt"
        #expect(try String(contentsOfFile: old, encoding: .utf8) == "first")

        let listed = try ProgramFixture.objects(place.fixture.run("points", "--json"))
        let id = try #require(listed.compactMap { $0["id"] as? String }.first)
        try place.run("points", "delete", id, "--yes")
        try place.run("vault", "reclaim")
        var buffer = [UInt8](repeating: 0, count: bytes.count)
        var got = 0
        while got < bytes.count {
            let count = pread(held, &buffer[got], bytes.count - got, off_t(got))
            #expect(count > 0, "errno \(errno) \(place.warned)")
            if count <= 0 { break }
            got += count
        }
        #expect(Data(buffer) == bytes)
        #expect(place.wait(40) { (try? place.times().count) == 1 })
        // The kernel keeps a name for some seconds more.
        var code: Int32 = 0
        let isGone = place.wait(20) {
            let file = open(old, O_RDONLY)
            code = file < 0 ? errno : 0
            if file >= 0 { close(file) }
            return file < 0
        }
        #expect(isGone && (code == ENOENT || code == ESTALE), "a removed point is still found: \(code)")
        #expect(place.unmount() != 0, "it was unmounted although a file is open")
        close(held)
        #expect(place.unmount() == 0)
        #expect(place.status() == 0, "\(place.warned)")
    }

    @Test("killed, it leaves an empty directory behind, which can be mounted on again")
    func killed() throws {
        let place = try MountPlace()
        defer { place.close() }
        try Data("text".utf8).write(to: URL(fileURLWithPath: place.files + "/a.txt"))
        try place.backup()
        for _ in 0..<3 {
            try place.start()
            #expect(try String(contentsOfFile: try place.latest() + "/a.txt", encoding: .utf8) == "text")
            place.signal(SIGKILL)
            #expect(place.status() == -SIGKILL)
            #expect(place.wait { MountPlace.names(place.mount)?.isEmpty == true }, "something is left")
        }
        for signal in [SIGTERM, SIGHUP] {
            try place.start()
            place.signal(signal)
            #expect(place.status() == 0)
            #expect(MountPlace.names(place.mount)?.isEmpty == true)
        }
    }

    @Test("without fusermount3 root mounts all the same, and what a kill leaves is named with what to type")
    func withoutHelper() throws {
        guard MountPlace.isRoot else { return print("skipped: only root mounts without fusermount3") }
        let place = try MountPlace()
        defer { place.close() }
        try Data("text".utf8).write(to: URL(fileURLWithPath: place.files + "/a.txt"))
        try place.backup()
        let environment = place.fixture.environment.map { "export \($0.key)='\($0.value)'" }.joined(separator: "\n")
        let result = MountPlace.shell(
            """
            unshare -m bash -c '
            mount --make-rprivate /
            for f in /usr/bin/fusermount3 /bin/fusermount3; do [ ! -e $f ] || mount --bind /dev/null $f; done
            \(environment.replacingOccurrences(of: "'", with: "'\\''"))
            "\(ProgramFixture.program.path)" mount "\(place.mount)" & id=$!
            for i in {1..200}; do [ -n "$(ls "\(place.mount)")" ] && break; sleep 0.1; done
            cat "\(place.mount)"/*/latest"\(place.files)"/a.txt; echo
            kill -9 $id; wait $id
            "\(ProgramFixture.program.path)" mount "\(place.mount)"; echo "status $?"
            umount "\(place.mount)"
            "\(ProgramFixture.program.path)" mount "\(place.mount)" --background && ls "\(place.mount)" | wc -l
            umount "\(place.mount)"' 2>&1
            """)
        #expect(result.text.contains("apt install fuse3"), "\(result.text)")
        #expect(result.text.contains("\ntext\n"), "\(result.text)")
        #expect(result.text.contains("is what is left of a mount whose program was killed"), "\(result.text)")
        #expect(result.text.contains("Type `umount \(place.mount)`"), "\(result.text)")
        #expect(result.text.contains("status 1\n"), "\(result.text)")
        #expect(result.text.hasSuffix("\n1\n"), "\(result.text)")
    }

    @Test("a damaged part is an error for who reads it, with a line that names the file, and nothing else suffers")
    func damaged() throws {
        let place = try MountPlace()
        defer { place.close() }
        var random = SeededGenerator(seed: 9)
        let bytes = Data(random.bytes(6 << 20))
        try bytes.write(to: URL(fileURLWithPath: place.files + "/big"))
        try place.backup()
        // The largest pack has the contents; what describes them is in others.
        let broken = MountPlace.shell(
            """
            pack=$(find '\(place.path("vault"))/packs' -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2-)
            size=$(stat -c %s "$pack"); chmod u+w "$pack"
            for part in 2 3 4; do head -c 4096 /dev/urandom | dd of="$pack" bs=1 seek=$((size * part / 6)) conv=notrunc status=none
            done; echo small > '\(place.files)/small'
            """)
        #expect(broken.status == 0, "\(broken.text)")
        try place.start()
        let file = try place.latest() + "/big"
        let read = MountPlace.shell("cat '\(file)' > /dev/null")
        #expect(read.status != 0 && read.text.contains("Input/output error"), "\(read.text)")
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let descriptor = open(file, O_RDONLY)
        #expect(pread(descriptor, &buffer, 4_096, 0) == 4_096 && Data(buffer) == bytes[..<4_096])
        close(descriptor)
        #expect(place.wait { place.warned.contains("vault verify") })
        let lines = place.warned.split(separator: "\n").filter { $0.contains("\(place.files)/big") }
        #expect(lines.count == 1, "\(place.warned)")
        place.signal(SIGTERM)
        #expect(place.status() == 3, "what could not be read is a warning")
    }

    @Test("other users see nothing; with --allow-other each sees what permissions and lists of access let them")
    func others() throws {
        guard MountPlace.isRoot else { return print("skipped: only root can act as somebody else") }
        let place = try MountPlace()
        defer { place.close() }
        let made = MountPlace.shell(
            """
            set -e; cd '\(place.files)'; echo all > open; echo mine > closed; chmod 600 closed
            echo some > listed; chmod 600 listed; setfacl -m u:nobody:r listed
            echo group > masked; chmod 640 masked; chgrp nogroup masked; setfacl -m g::--- -m m::r masked
            mkdir shut; echo in > shut/file; chmod 700 shut
            chmod 755 '\(place.fixture.directory.path)'
            """)
        #expect(made.status == 0, "\(made.text)")
        try place.backup()
        func asNobody(_ script: String) -> String {
            MountPlace.shell("setpriv --reuid nobody --regid nogroup --clear-groups bash -c '\(script)' 2>&1").text
        }
        try place.start()
        #expect(asNobody("ls \(place.mount)").contains("Permission denied"))
        place.signal(SIGINT)
        #expect(place.status() == 0)
        try place.start(["--allow-other"])
        let latest = try place.latest()
        #expect(asNobody("cat \(latest)/open") == "all\n", "\(asNobody("cat \(latest)/open"))")
        #expect(asNobody("cat \(latest)/listed") == "some\n")
        for name in ["closed", "masked", "shut/file"] {
            let text = asNobody("cat \(latest)/\(name)")
            #expect(text.contains("Permission denied"), "\(name): \(text)")
        }
        #expect(asNobody("ls \(place.mount)/*/ | wc -l") == "2\n")
        place.signal(SIGINT)
        #expect(place.status() == 0)
    }

    @Test("what cannot be mounted on is said, and nothing is mounted")
    func refusals() throws {
        let place = try MountPlace()
        defer { place.close() }
        try Data("text".utf8).write(to: URL(fileURLWithPath: place.files + "/a.txt"))
        try place.backup()
        let cases = [
            (place.path("nowhere"), "mkdir"), (place.files, "is not empty"),
            (place.files + "/a.txt", "not a directory"),
        ]
        for (path, words) in cases {
            let result = try place.fixture.run("mount", path)
            #expect(result.status != 0 && result.error.contains(words), "\(result.error)")
        }
        try place.start()
        let again = try place.fixture.run("mount", place.mount)
        #expect(again.status == 1 && again.error.contains("is mounted on \(place.mount) already"), "\(again.error)")
        let wrong = try place.fixture.run("mount", place.path("nowhere"), "--cache", "1KB")
        #expect(wrong.status == 2, "\(wrong.error)")
        // A passphrase that is wrong in the background is told before anything goes on.
        place.signal(SIGINT)
        #expect(place.status() == 0)
        try Data("wrong\n".utf8).write(to: URL(fileURLWithPath: place.path("other")))
        let locked = try place.fixture.run(
            "mount", place.mount, "--background", "--passphrase-file", place.path("other"))
        #expect(locked.status == 1 && !locked.error.isEmpty, "\(locked.status) \(locked.error)")
        #expect(MountPlace.names(place.mount)?.isEmpty == true)
    }

    @Test("a server's vault is mounted with an access code; away, it is an error in time, and back it is read again")
    func server() throws {
        let server = try ServerCommandTests.Place()
        defer { server.close() }
        try server.objects(
            ["server", "init", "--vault", server.vault, "--passphrase-file", server.passphrase], state: "server")
        try server.start(state: "server")
        try server.objects(["server", "check-sheet", server.sheet, "--vault", server.vault], state: "server")
        for name in ["mail", "web"] {
            try server.enrol(name, server: "server")
            try server.write("a.txt", "of \(name)\n")
            try server.write("\(name).txt", "only \(name)\n")
            try server.objects(["backup", server.files, "--vault", server.address], state: name)
        }
        let token = try server.token("reader", server: "server")
        let place = try MountPlace(hasVault: false)
        defer { place.close() }
        place.fixture.environment["HOLDFAST_VAULT"] = server.address
        place.fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = nil
        try place.start(["--token-file", token])
        let names = Set(MountPlace.names(place.mount) ?? [])
        #expect(names.isSuperset(of: ["mail", "web"]), "\(names)")
        let web = place.mount + "/web/latest" + server.files
        #expect(try String(contentsOfFile: web + "/a.txt", encoding: .utf8) == "of web\n")
        let mail = place.mount + "/mail/latest" + server.files
        let compared = MountPlace.shell(
            "rsync -an --itemize-changes --checksum --delete '\(server.files)/' '\(web)/' 2>&1")
        #expect(compared.status == 0 && compared.text.isEmpty, "\(compared.text)")

        let port = String(server.address.split(separator: ":").last ?? "")
        server.kill()
        let began = ContinuousClock.now
        #expect((try? String(contentsOfFile: mail + "/a.txt", encoding: .utf8)) == nil)
        #expect(ContinuousClock.now - began < .seconds(60))
        #expect(place.wait { place.warned.contains("cannot be read now") }, "\(place.warned)")
        try server.start(state: "server", port: port)
        #expect(place.wait(30) { (try? String(contentsOfFile: mail + "/a.txt", encoding: .utf8)) == "of mail\n" })
        #expect(place.unmount() == 0)
        #expect(place.status() == 3, "\(place.warned)")
    }
}
