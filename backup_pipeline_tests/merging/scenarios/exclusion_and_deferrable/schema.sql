CREATE TABLE rooms (id $id, name text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, place integer);
CREATE TABLE bookings (id $id, room_id integer NOT NULL REFERENCES rooms DEFERRABLE INITIALLY DEFERRED, during int4range NOT NULL, guest text NOT NULL UNIQUE DEFERRABLE,
  EXCLUDE USING gist (int4range(room_id, room_id, '[]') WITH &&, during WITH &&));
