{{- /* The objects of the kustomization in .directory, as JSON: {"items": [...]}. It knows of
       kustomize what kube/deploy makes use of. */ -}}
{{- define "vegd.objects" -}}
{{- $files := .root.Files -}}
{{- $directory := .directory -}}
{{- $kustomization := $files.Get (printf "%s/kustomization.yaml" $directory) | fromYaml -}}
{{- $objects := list -}}
{{- range $kustomization.resources -}}
  {{- $path := clean (printf "%s/%s" $directory .) -}}
  {{- if hasSuffix ".yaml" $path -}}
    {{- range splitList "\n---\n" ($files.Get $path) -}}
      {{- $objects = append $objects (fromYaml .) -}}
    {{- end -}}
  {{- else -}}
    {{- $within := include "vegd.objects" (dict "root" $.root "directory" $path) | fromJson -}}
    {{- $objects = concat $objects $within.items -}}
  {{- end -}}
{{- end -}}
{{- range $kustomization.configMapGenerator -}}
  {{- $data := dict -}}
  {{- range .files -}}
    {{- $_ := set $data . ($files.Get (printf "%s/%s" $directory .)) -}}
  {{- end -}}
  {{- $metadata := dict "name" .name "labels" .options.labels -}}
  {{- $objects = append $objects (dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" $metadata "data" $data) -}}
{{- end -}}
{{- range $object := $objects -}}
  {{- range $kustomization.labels -}}
    {{- $_ := set $object.metadata "labels" (merge dict .pairs ($object.metadata.labels | default dict)) -}}
  {{- end -}}
{{- end -}}
{{- dict "items" $objects | toJson -}}
{{- end -}}
