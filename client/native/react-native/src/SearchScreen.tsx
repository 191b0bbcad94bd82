/**
 * A screen that searches with a photo and lists the hits. `uri`: from the camera or a picker. `server`: the same object on
 * each render, because the encoder is opened again for another one.
 */

import { useEffect, useState } from "react";
import { FlatList, Text, View } from "react-native";

import { type AskewServer, type Hit, ServerProblem } from "./api.ts";
import { decodePhoto } from "./decode-photo.ts";
import type { Encoder } from "./encoder.ts";
import { openEncoder } from "./encoder-store.ts";

export function SearchScreen({ server, uri }: { server: AskewServer; uri: string | undefined }) {
  const [encoder, setEncoder] = useState<Encoder>();
  const [hits, setHits] = useState<readonly Hit[]>([]);
  const [notice, setNotice] = useState("Preparing the encoder …");

  const [renewals, setRenewals] = useState(0);

  useEffect(() => {
    let isCurrent = true;
    const opening = openEncoder(server);
    opening
      .then((ready) => isCurrent && (setEncoder(ready), setNotice("Take a photo.")))
      .catch((error: Error) => isCurrent && setNotice(error.message));
    return () => {
      isCurrent = false;
      setEncoder(undefined);
      opening.then((ready) => ready.close()).catch(() => {});
    };
  }, [server, renewals]);

  useEffect(() => {
    if (!encoder || !uri) return;
    let isCurrent = true;
    const search = async () => {
      const vector = await encoder.describe(await decodePhoto(uri, encoder.manifest.photo_size));
      const found = await server.search(vector, encoder.manifest);
      if (!isCurrent) return;
      setHits(found);
      setNotice(found.length ? "The photo stayed on this phone." : "Nothing in this gallery looks like it.");
    };
    search().catch((error: Error) => {
      if (!isCurrent) return;
      setNotice(error.message);
      // The gallery has retired this encoder: open the one that it admits now, and search with it.
      if (error instanceof ServerProblem && error.status === 409) setRenewals((count) => count + 1);
    });
    return () => {
      isCurrent = false;
    };
  }, [encoder, server, uri]);

  return (
    <View>
      <Text accessibilityLiveRegion="polite">{notice}</Text>
      <FlatList
        data={hits}
        keyExtractor={(hit) => hit.id}
        renderItem={({ item }) => <Text>{`${item.score.toFixed(3)}  ${String(item.payload?.["title"] ?? item.id)}`}</Text>}
      />
    </View>
  );
}
